use super::*;
use crate::evaluate::PageLanguage;

const NAMES: [(&str, &str); 4] = [("vpn", "VPN"), ("mail", "E-mail"), ("print", "Drucker"), ("phone", "Telefon")];

fn labels(n: usize) -> Vec<LabelRef> {
    NAMES[..n].iter().map(|(id, name)| LabelRef { id: (*id).to_owned(), name: (*name).to_owned() }).collect()
}

/// A ticket of a made-up department.
struct Made {
    id: String,
    text: String,
    vector: Vec<f32>,
    label: usize,
    probabilities: Vec<f32>,
    created_at: Option<DateTime<Utc>>,
}

/// Numbers in -0.5..0.5 by a fixed rule.
fn random(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1u64 << 31) as f32 - 0.5
    }
}

/// `per_label` tickets of each label: texts of their own, vectors in four far corners, predictions sure and right.
fn clean(n_labels: usize, per_label: usize, seed: u64) -> Vec<Made> {
    let mut random = random(seed);
    (0..n_labels * per_label)
        .map(|i| {
            let label = i % n_labels;
            let sure = 0.9 + 0.1 * random();
            let mut probabilities = vec![(1.0 - sure) / (n_labels - 1) as f32; n_labels];
            probabilities[label] = sure;
            let vector = (0..32).map(|d| random() + if d % n_labels == label { 0.3 } else { 0.0 }).collect();
            let text = format!("{} {}", NAMES[label].1, "x".repeat(i));
            Made { id: format!("T-{i:03}"), text, vector, label, probabilities, created_at: None }
        })
        .collect()
}

fn fields(made: &[Made], n_labels: usize) -> FieldRows {
    let rows = made.iter().enumerate().map(|(subject, made)| Row {
        subject,
        label: made.label,
        probabilities: Some(made.probabilities.clone()),
    });
    FieldRows {
        field: "category".to_owned(),
        labels: labels(n_labels),
        ordinal: false,
        calibrated: true,
        rows: rows.collect(),
        without_value: 0,
        with_other_value: 0,
    }
}

fn subjects(made: &[Made]) -> Vec<Subject<'_>> {
    made.iter()
        .map(|made| Subject { ticket: &made.id, text: &made.text, vector: &made.vector, created_at: made.created_at })
        .collect()
}

fn of_field(made: &[Made], field: FieldRows) -> FieldAudit {
    whole(made, field).fields.remove(0)
}

fn whole(made: &[Made], field: FieldRows) -> Audit {
    let request = Request { department: "it", encoder: "e5@sha256:0".to_owned(), top: 10 };
    audit(&request, &subjects(made), vec![field])
}

#[test]
fn a_clean_separable_set_has_no_findings() {
    for seed in 0..20 {
        for (n_labels, per_label) in [(2, 15), (3, 40), (4, 8)] {
            let made = clean(n_labels, per_label, seed);
            let found = of_field(&made, fields(&made, n_labels));
            assert_eq!(found.unmeasured, None);
            assert_eq!((&found.conflicts[..], &found.overlapping[..]), (&[][..], &[][..]), "seed {seed}");
            assert_eq!((&found.dead[..], &found.suspects[..]), (&[][..], &[][..]), "seed {seed}");
            assert_eq!(found.summary.in_conflict, 0);
            assert_eq!((found.summary.share_wrong, found.summary.agreement), (Some(0.0), Some(1.0)));
        }
    }
}

#[test]
fn equal_letters_under_different_labels_are_a_conflict() {
    let mut made = clean(3, 10, 1);
    for (i, text) in [(0, "Disk 7 full!"), (1, "disk 81 FULL"), (3, "Disk full?"), (5, "12:30"), (6, "12:30")] {
        made[i].text = text.to_owned();
    }
    let found = of_field(&made, fields(&made, 3));
    let [conflict] = &found.conflicts[..] else { panic!("{:?}", found.conflicts) };
    assert_eq!((conflict.kind, conflict.similarity), (ConflictKind::SameText, 1.0));
    let filed: Vec<(&str, &str)> = conflict.tickets.iter().map(|f| (f.ticket.as_str(), f.label.id.as_str())).collect();
    assert_eq!(filed, [("T-000", "vpn"), ("T-003", "vpn"), ("T-001", "mail")]);
    assert_eq!(conflict.majority.as_ref().map(|label| label.id.as_str()), Some("vpn"));
    assert_eq!((found.summary.in_conflict, found.summary.against_majority), (3, 1));
    assert_eq!(found.summary.share_in_conflict, Some(0.1));
}

#[test]
fn near_vectors_under_different_labels_are_a_conflict_and_a_tie_has_no_majority() {
    let mut made = clean(2, 20, 2);
    let twin = made[4].vector.iter().enumerate().map(|(d, v)| if d == 3 { v + 0.02 } else { *v }).collect();
    made[7].vector = twin;
    // Alike and filed alike: no conflict.
    made[10].vector = made[12].vector.clone();
    let found = of_field(&made, fields(&made, 2));
    let [conflict] = &found.conflicts[..] else { panic!("{:?}", found.conflicts) };
    assert_eq!((conflict.kind, &conflict.majority), (ConflictKind::NearText, &None));
    assert!((0.97..1.0).contains(&conflict.similarity), "{}", conflict.similarity);
    assert_eq!((conflict.tickets[0].ticket.as_str(), conflict.tickets[1].ticket.as_str()), ("T-004", "T-007"));
}

#[test]
fn labels_that_are_taken_for_each_other_overlap() {
    let mut made = clean(4, 30, 3);
    for (i, made) in made.iter_mut().enumerate().filter(|(i, _)| i % 4 < 2) {
        // Which of the two is no better than a coin.
        let first = i / 4 % 2 == 0;
        made.probabilities = if first { vec![0.6, 0.36, 0.02, 0.02] } else { vec![0.36, 0.6, 0.02, 0.02] };
    }
    let found = of_field(&made, fields(&made, 4));
    let [overlap] = &found.overlapping[..] else { panic!("{:?}", found.overlapping) };
    assert_eq!((overlap.label.id.as_str(), overlap.other.id.as_str()), ("vpn", "mail"));
    assert_eq!((overlap.share, overlap.of_guessing, overlap.advice), (0.5, 1.0, Advice::Merge));
    assert!((0.35..0.5).contains(&overlap.share_at_least), "{}", overlap.share_at_least);
    assert_eq!(overlap.examples.len(), 5);
    // Steps of a scale stay what they are.
    let steps = of_field(&made, FieldRows { ordinal: true, ..fields(&made, 4) });
    assert_eq!(steps.overlapping[0].advice, Advice::Sharpen);
}

#[test]
fn one_of_two_tickets_is_no_overlap_and_a_swallowed_label_is() {
    let mut made = clean(3, 12, 4);
    made.retain(|made| made.label != 2 || ["T-002", "T-005"].contains(&made.id.as_str()));
    for made in made.iter_mut().filter(|made| made.id == "T-002") {
        made.probabilities = vec![0.8, 0.1, 0.1];
    }
    assert_eq!(of_field(&made, fields(&made, 3)).overlapping, []);

    let mut made = clean(2, 200, 5);
    let mut kept = 0;
    made.retain(|made| {
        made.label == 0 || {
            kept += 1;
            kept <= 8
        }
    });
    made.iter_mut().filter(|made| made.label == 1).for_each(|made| made.probabilities = vec![0.9, 0.1]);
    let found = of_field(&made, fields(&made, 2));
    let [overlap] = &found.overlapping[..] else { panic!("{:?}", found.overlapping) };
    assert_eq!((overlap.other_taken_for_label, overlap.other_tickets, overlap.advice), (8, 8, Advice::Merge));
    assert!(overlap.share < 0.05, "{}", overlap.share);
}

#[test]
fn labels_without_use_are_dead() {
    let mut made = clean(3, 20, 6);
    let day = |n: i64| DateTime::from_timestamp(1_700_000_000 + n * 86_400, 0);
    for (i, made) in made.iter_mut().enumerate() {
        made.created_at = day(if made.label == 1 { i as i64 } else { 400 + i as i64 });
    }
    for made in made.iter_mut().filter(|made| made.label == 2) {
        made.probabilities = vec![0.5, 0.1, 0.4];
    }
    // The last label has fewer than 20 tickets.
    made.pop();
    let field = FieldRows { labels: labels(4), ..fields(&made, 3) };
    let found = of_field(&made, field);
    let dead: Vec<(&str, DeadReason)> = found.dead.iter().map(|dead| (dead.label.id.as_str(), dead.reason)).collect();
    assert_eq!(
        dead,
        [("phone", DeadReason::Unused), ("mail", DeadReason::Stale), ("print", DeadReason::NeverRecognised)]
    );
    assert_eq!((found.dead[1].tickets, found.dead[1].last_ticket), (20, day(58)));

    // One ticket without a date, and nothing can be said of how old the label is.
    made[4].created_at = None;
    let found = of_field(&made, fields(&made, 3));
    assert!(found.dead.iter().all(|dead| dead.reason != DeadReason::Stale), "{:?}", found.dead);
}

#[test]
fn a_ticket_filed_wrong_is_suspect_with_its_neighbours() {
    let mut made = clean(3, 30, 7);
    for (i, margin) in [(3, 0.9), (6, 0.8)] {
        // Recorded as "vpn", and everything says "E-mail".
        made[i].probabilities = vec![(1.0 - margin) / 2.0 - 0.02, (1.0 + margin) / 2.0, 0.02];
        made[i].vector = made[4].vector.iter().map(|v| v + 0.001 * i as f32).collect();
    }
    // In doubt, which is no fault.
    made[9].probabilities = vec![0.4, 0.35, 0.25];
    let field = fields(&made, 3);
    let found = of_field(&made, field.clone());
    let ids: Vec<&str> = found.suspects.iter().map(|suspect| suspect.ticket.as_str()).collect();
    assert_eq!(ids, ["T-003", "T-006"]);
    let first = &found.suspects[0];
    assert_eq!((first.label.id.as_str(), first.likelier.id.as_str()), ("vpn", "mail"));
    assert_eq!((first.probability, first.likelier_probability, first.margin), (0.03, 0.95, 0.92));
    assert_eq!(first.neighbours.len(), 3);
    assert!(first.neighbours[..2].iter().any(|near| near.ticket == "T-004" && near.label.id == "mail"));
    assert!(first.neighbours.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
    let share = found.summary.share_wrong.unwrap();
    assert!((0.01..0.06).contains(&share), "{share}");
    let interval = found.summary.share_wrong_interval.unwrap();
    assert!(interval.low <= share && share <= interval.high && interval.high < 0.12, "{interval:?}");

    let request = Request { department: "it", encoder: String::new(), top: 1 };
    let capped = audit(&request, &subjects(&made), vec![field]).fields.remove(0);
    assert_eq!((capped.suspects.len(), capped.summary.suspects), (1, 2));
}

#[test]
fn without_trustworthy_predictions_only_what_needs_none_is_found() {
    let mut made = clean(2, 30, 8);
    made[2].text = made[1].text.clone();
    made[8].probabilities = vec![0.01, 0.99];
    let found = of_field(&made, FieldRows { calibrated: false, ..fields(&made, 2) });
    assert_eq!(found.unmeasured, Some(Unmeasured::NotCalibrated));
    assert_eq!((found.conflicts.len(), found.suspects.len(), found.summary.share_wrong), (1, 0, None));
    made.truncate(10);
    assert_eq!(of_field(&made, fields(&made, 2)).unmeasured, Some(Unmeasured::TooFewTickets));
    let none = of_field(&[], fields(&[], 2));
    assert_eq!((none.summary.share_in_conflict, none.dead.len()), (None, 2));
}

#[test]
fn rows_that_point_nowhere_do_no_harm() {
    let made = clean(2, 15, 9);
    let mut field = fields(&made, 2);
    field.rows[0].subject = 999;
    field.rows[1].label = 7;
    field.rows[2].probabilities = Some(vec![f32::NAN]);
    let found = of_field(&made, field);
    assert_eq!(found.summary.tickets, 28);
}

/// An audit with all kinds of findings, and hostile names.
fn sample() -> Audit {
    let mut made = clean(3, 20, 10);
    made[1].text = made[0].text.clone();
    made[3].probabilities = vec![0.02, 0.96, 0.02];
    made.iter_mut().filter(|made| made.label == 2).for_each(|made| made.probabilities = vec![0.1, 0.6, 0.3]);
    made[5].id = "=1+<b>\"&".to_owned();
    let mut field = FieldRows { labels: labels(4), ..fields(&made, 3) };
    field.labels[1].name = "<script>alert('x')</script>".to_owned();
    whole(&made, field)
}

#[test]
fn json_comes_back_as_the_same_audit_and_twice_the_same() {
    let audit = sample();
    let json = audit.to_json().unwrap();
    assert_eq!(serde_json::from_str::<Audit>(&json).unwrap(), audit);
    assert_eq!(sample().to_json().unwrap(), json);
    let found = &audit.fields[0];
    assert!(!found.conflicts.is_empty() && !found.overlapping.is_empty());
    assert!(!found.dead.is_empty() && !found.suspects.is_empty());
}

#[test]
fn rows_name_one_finding_each() {
    let audit = sample();
    let rows = csv_rows(&audit);
    let count = |kind: &str| rows.iter().filter(|row| row[1] == kind).count();
    assert_eq!((count("same_text"), count("unused")), (2, 1));
    assert_eq!(count("suspect"), audit.fields[0].suspects.len());
    assert_eq!(count("overlapping_merge") + count("overlapping_sharpen"), audit.fields[0].overlapping.len());
    assert!(rows.iter().all(|row| row[0] == "category"));
}

#[test]
fn page_stands_alone_in_both_languages() {
    let audit = sample();
    let (english, german) = (audit.to_html(PageLanguage::En), audit.to_html(PageLanguage::De));
    assert!(english.contains("<html lang=\"en\">") && english.contains("Suspect tickets"));
    assert!(german.contains("<html lang=\"de\">") && german.contains("Verdächtige Tickets"));
    for html in [&english, &german] {
        for forbidden in ["<script", "http://", "https://", "<link", "<img", "@import", "url(", "NaN", "<b>\"&"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for element in ["section", "table", "tr", "td", "th", "div", "p", "dl", "ul", "li", "code", "span", "h3"] {
            let opened = html.matches(&format!("<{element}>")).count() + html.matches(&format!("<{element} ")).count();
            assert_eq!(opened, html.matches(&format!("</{element}>")).count(), "{element}");
        }
        assert!(html.contains("&lt;script&gt;") && html.contains("default-src 'none'"));
    }
    assert!(german.contains("Kosinus 0,95") && english.contains("cosine 0.95"));
}

#[test]
fn hidden_rest_of_a_long_list_is_counted() {
    let mut audit = sample();
    let suspects = audit.fields[0].suspects.clone();
    audit.fields[0].suspects = suspects.iter().cycle().take(600).cloned().collect();
    audit.fields[0].summary.suspects = 700;
    let html = audit.to_html(PageLanguage::En);
    assert!(html.contains("200 more are in the JSON and CSV files"), "the rest is not named");
}

#[test]
fn a_weak_prediction_warns_of_its_own_suspects() {
    let mut audit = sample();
    let warning = "Many of the suspects are then its own errors";
    audit.fields[0].summary.agreement = Some(0.79);
    assert!(audit.to_html(PageLanguage::En).contains(warning));
    audit.fields[0].summary.agreement = Some(0.81);
    assert!(!audit.to_html(PageLanguage::En).contains(warning));
}
