-- Times are RFC 3339 in UTC. A `record` is the object's JSON as import and export write it.

CREATE TABLE departments (
    id         TEXT    NOT NULL PRIMARY KEY,
    taxonomy   TEXT    NOT NULL,  -- JSON
    revision   INTEGER NOT NULL,  -- counts the versions of `taxonomy` from 1
    created_at TEXT    NOT NULL,
    updated_at TEXT    NOT NULL
) STRICT;

-- One sequence over tickets, articles and deletions of all departments.
CREATE TABLE change_sequence (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    last     INTEGER NOT NULL
) STRICT;
INSERT INTO change_sequence (only_row, last) VALUES (1, 0);

CREATE TABLE tickets (
    department  TEXT    NOT NULL REFERENCES departments (id),
    id          TEXT    NOT NULL,
    status      TEXT    NOT NULL CHECK (status IN ('open', 'resolved')),
    created_at  TEXT,
    resolved_at TEXT,
    text_hash   TEXT    NOT NULL,  -- SHA-256 over what the canonical text is made of
    change_seq  INTEGER NOT NULL UNIQUE,
    record      TEXT    NOT NULL,  -- JSON
    PRIMARY KEY (department, id)
) STRICT;

CREATE VIEW ticket_labels (department, ticket, field, label) AS
    SELECT tickets.department, tickets.id, labels.key, labels.value
    FROM tickets, json_each(tickets.record, '$.labels') AS labels;

CREATE TABLE articles (
    department TEXT    NOT NULL REFERENCES departments (id),
    id         TEXT    NOT NULL,
    updated_at TEXT,
    text_hash  TEXT    NOT NULL,
    change_seq INTEGER NOT NULL UNIQUE,
    record     TEXT    NOT NULL,  -- JSON
    PRIMARY KEY (department, id)
) STRICT;

-- What was deleted and has not come back.
CREATE TABLE tombstones (
    kind       TEXT    NOT NULL CHECK (kind IN ('ticket', 'article')),
    department TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    change_seq INTEGER NOT NULL UNIQUE,
    deleted_at TEXT    NOT NULL,
    PRIMARY KEY (kind, department, id)
) STRICT;

-- What the pipeline makes of an object: can be made anew from `record`.
CREATE TABLE derived (
    kind         TEXT    NOT NULL CHECK (kind IN ('ticket', 'article')),
    department   TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    encoder      TEXT    NOT NULL,  -- fingerprint
    text_version INTEGER NOT NULL,
    text_hash    TEXT    NOT NULL,
    language     TEXT    NOT NULL CHECK (language IN ('de', 'en', 'und')),
    title        TEXT    NOT NULL,
    text         TEXT    NOT NULL,
    passages     TEXT    NOT NULL,  -- JSON: [[start, end], ...], characters of `text`
    has_title    INTEGER NOT NULL CHECK (has_title IN (0, 1)),
    dim          INTEGER NOT NULL,
    vectors      BLOB    NOT NULL,  -- rows of `dim` little-endian IEEE 754 halves: whole, title if any, passages
    PRIMARY KEY (kind, department, id)
) STRICT;

-- Every outcome as it was reported; the ticket's own record holds the merged state.
CREATE TABLE outcomes (
    id          INTEGER NOT NULL PRIMARY KEY,
    department  TEXT    NOT NULL,
    ticket      TEXT    NOT NULL,
    recorded_at TEXT    NOT NULL,
    closed_at   TEXT,
    labels      TEXT    NOT NULL,  -- JSON: {field: label id}
    resolution  TEXT,
    change_seq  INTEGER NOT NULL,
    FOREIGN KEY (department, ticket) REFERENCES tickets (department, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX outcomes_by_ticket ON outcomes (department, ticket);

CREATE TABLE decisions (
    department  TEXT NOT NULL,
    decision_id TEXT NOT NULL,  -- UUIDv7: sorts by time
    ticket      TEXT NOT NULL,
    decided_at  TEXT NOT NULL,
    model       TEXT NOT NULL,
    triage      TEXT NOT NULL,  -- JSON of the answer
    PRIMARY KEY (department, decision_id),
    FOREIGN KEY (department, ticket) REFERENCES tickets (department, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX decisions_by_ticket ON decisions (department, ticket);

-- Which decisions quote an object, so that deleting the object takes its words out of them.
CREATE TABLE decision_sources (
    department  TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('ticket', 'article')),
    id          TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    PRIMARY KEY (department, kind, id, decision_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE models (
    department   TEXT    NOT NULL REFERENCES departments (id),
    version      INTEGER NOT NULL,
    created_at   TEXT    NOT NULL,
    encoder      TEXT    NOT NULL,
    text_version INTEGER NOT NULL,
    data_seq     INTEGER NOT NULL,
    metrics      TEXT    NOT NULL,  -- JSON
    model        BLOB    NOT NULL,
    PRIMARY KEY (department, version)
) STRICT;

-- A stack per department: the newest row is the active version, the one below it what a rollback returns to.
CREATE TABLE model_activations (
    id           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    department   TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    activated_at TEXT    NOT NULL,
    FOREIGN KEY (department, version) REFERENCES models (department, version)
) STRICT;
CREATE INDEX model_activations_by_department ON model_activations (department, id);

-- Proof for the readiness probe that a write gets through.
CREATE TABLE write_checks (
    only_row   INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    checked_at TEXT    NOT NULL
) STRICT;
