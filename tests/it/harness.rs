//! What the tests stand on: the real binary, and the router in process with a real encoder, store and index.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A temporary folder with files in it.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// Path of a file or folder in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// What a finished command left.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_triage"));
    // The working directory has the models; no setting of the person who runs the tests may leak in.
    command.args(arguments).current_dir(root());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRIAGE__") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the binary to its end.
pub(crate) fn triage(arguments: &[&str]) -> Finished {
    let output = command(arguments).stdin(Stdio::null()).output().unwrap();
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running service; killed when it goes out of scope.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: String,
}

impl Service {
    pub(crate) fn start(data_dir: &str) -> Service {
        Service::start_with(data_dir, &[])
    }

    /// The same with settings of the environment.
    pub(crate) fn start_with(data_dir: &str, environment: &[(&str, &str)]) -> Service {
        let mut child = command(&["--data-dir", data_dir, "serve", "--bind", "127.0.0.1:0"])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if !line.starts_with("http://127.0.0.1:") {
            let _ = child.kill();
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("the service printed {line:?} first, and on standard error {stderr}");
        }
        Service { child, address: line.trim().to_owned() }
    }

    /// Kills the process without a warning, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to stop and waits for it; its exit code and what it logged.
    pub(crate) fn stop(mut self) -> (i32, String) {
        let stopped = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(stopped.success());
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (code, log)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let mut response = agent().get(format!("{}{path}", self.address)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap_or_default())
    }

    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let mut response = agent().post(format!("{}{path}", self.address)).send_json(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap_or_default())
    }

    /// Waits until the service says that it is ready.
    pub(crate) fn wait_until_ready(&self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while self.get("/readyz").0 != 200 {
            assert!(std::time::Instant::now() < deadline, "the service does not become ready");
            std::thread::yield_now();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(std::time::Duration::from_secs(60)))
        .build()
        .into()
}

/// The service in this process: real encoder, store, index and worker behind the real router.
pub(crate) struct App {
    router: axum::Router,
    pub(crate) state: std::sync::Arc<triage::http::App>,
    _folder: Folder,
}

/// An answer of the router.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

impl App {
    pub(crate) async fn start() -> App {
        use std::sync::Arc;
        let folder = Folder::new();
        let data_dir = folder.path("data");
        let store = triage::store::Store::open(Path::new(&data_dir)).await.unwrap();
        let encoder =
            triage::embed::Encoder::load(&root().join("models/e5-small-de-en"), triage::embed::Options::default())
                .unwrap();
        let pipeline =
            Arc::new(triage::pipeline::Pipeline::new(Arc::new(encoder), &Path::new(&data_dir).join("index")));
        let follower = triage::jobs::Follower::start(store.clone(), Arc::clone(&pipeline)).await.unwrap();
        let worker = triage::worker::Worker::start(Arc::clone(&pipeline)).unwrap();
        let metrics = triage::telemetry::install_metrics().unwrap();
        let state = Arc::new(triage::http::App::new(store, pipeline, worker, follower, metrics));
        App { router: triage::http::router(Arc::clone(&state)), state, _folder: folder }
    }

    /// Sends bytes with a media type.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: impl Into<axum::body::Body>,
    ) -> Answer {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .body(body.into())
            .unwrap();
        self.call(request).await
    }

    pub(crate) async fn call(&self, request: axum::http::Request<axum::body::Body>) -> Answer {
        let response = tower::ServiceExt::oneshot(self.router.clone(), request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "application/json", axum::body::Body::empty()).await
    }

    /// Two labels, four resolved tickets and two articles in department `it`; no heads are trained.
    pub(crate) async fn fill(&self) {
        let tickets = serde_json::json!({"department": "it", "tickets": [
            {"id": "A-1", "subject": "VPN Fehler 809", "body": "Der Tunnel bricht ab, Fehler 809.", "labels": {"category": "vpn"}, "resolution": "MTU auf 1350 gesetzt."},
            {"id": "A-2", "subject": "VPN drops", "body": "The VPN tunnel drops every hour.", "labels": {"category": "vpn"}, "resolution": "Updated the client to 5.1."},
            {"id": "A-3", "subject": "Drucker", "body": "Der Drucker zieht kein Papier ein.", "labels": {"category": "printer"}, "resolution": "Einzugsrolle gereinigt."},
            {"id": "A-4", "subject": "Paper jam", "body": "The printer reports a paper jam but there is none.", "labels": {"category": "printer"}, "resolution": "Sensor cleaned."}]});
        assert_eq!(self.post("/v1/tickets", &tickets).await.status, 200);
        let articles = serde_json::json!({"department": "it", "articles": [
            {"id": "kb-1", "title": "Repairing a VPN connection", "body": "If the tunnel is blocked, restart the client. Then set the MTU to 1350. Error 809 means that a firewall drops the packets."},
            {"id": "kb-2", "title": "Papierstau beheben", "body": "Öffnen Sie die Klappe. Ziehen Sie das Papier langsam heraus. Schließen Sie die Klappe wieder."}]});
        assert_eq!(self.post("/v1/articles", &articles).await.status, 200);
    }
}
