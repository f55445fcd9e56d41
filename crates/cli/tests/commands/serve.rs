//! `serve` as a process: it starts, logs its address, reloads its document, and stops on a signal.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::Value;

use crate::run::{command, finished, run};

const DOCUMENT: &str = r#"version: 1
registries:
  a: { provider: distribution, endpoint: "http://127.0.0.1:1", webhook: { secret: "env:HOOK" } }
  b: { provider: distribution, endpoint: "http://127.0.0.1:2" }
rules:
  - { name: core, source: { registry: a, namespace: core }, destination: { registry: b, namespace: copy } }
"#;

/// Time limit for the next line of a log.
const LOG_TIMEOUT: Duration = Duration::from_mins(1);

/// A process and its log.
pub struct Serve {
    child: Child,
    log: mpsc::Receiver<String>,
    folder: Arc<tempfile::TempDir>,
}

impl Serve {
    fn start() -> Self {
        Self::start_in(&Arc::new(tempfile::tempdir().unwrap()), DOCUMENT, &[])
    }

    /// Starts `serve` with `document` and the data folder `data` in `folder`.
    pub fn start_in(folder: &Arc<tempfile::TempDir>, document: &str, more: &[&str]) -> Self {
        let config = folder.path().join("t.yaml");
        std::fs::write(&config, document).unwrap();
        let mut child = command(&["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--data")
            .arg(folder.path().join("data"))
            .args(more)
            .env("HOOK", "secret")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, log) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        let folder = Arc::clone(folder);
        Self { child, log, folder }
    }

    /// Stops the process and waits until it has ended.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").arg(id).status().unwrap().success());
        self.until(says("stopped"));
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("t.yaml")
    }

    /// The next line of the log that satisfies `wanted`.
    pub fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self
                .log
                .recv_timeout(LOG_TIMEOUT)
                .unwrap_or_else(|error| panic!("the log ended, or was silent for a minute: {error}"));
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if wanted(&event) {
                return event;
            }
        }
    }

    pub fn until_serving(&mut self) -> String {
        let event = self.until(|event| event["message"] == "serving");
        event["address"].as_str().unwrap().to_owned()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn says(text: &str) -> impl Fn(&Value) -> bool + '_ {
    move |event| event["message"].as_str().is_some_and(|message| message.contains(text))
}

#[test]
fn every_source_is_told_its_address() {
    let mut serve = Serve::start();
    let address = serve.until_serving();
    let hook = serve.until(says("/hooks/a"));
    assert!(says(&format!("POST http://{address}/hooks/a"))(&hook), "{hook}");
}

#[test]
fn imports_that_nobody_serves_are_warned_of_once() {
    let is_warning = |event: &Value| event["code"] == "IMPORTS_NOT_SERVED";
    let import = "name: seed, bucket: layouts, destination: { registry: b, namespace: core }";
    let start = |import: &str| {
        let document = format!("{DOCUMENT}imports: [{{ {import} }}]\n");
        Serve::start_in(&Arc::new(tempfile::tempdir().unwrap()), &document, &[])
    };
    let mut serve = start(import);
    let warning = serve.until(is_warning);
    assert_eq!(warning["level"], "WARN", "{warning}");
    assert!(says("transship import")(&warning), "{warning}");
    serve.until(|event| {
        assert!(!is_warning(event), "a second time: {event}");
        event["message"] == "serving"
    });
    let mut serve = start(&format!("{import}, enabled: false"));
    serve.until(|event| {
        assert!(!is_warning(event), "it is not enabled: {event}");
        event["message"] == "serving"
    });
}

#[test]
fn the_order_to_stop_is_obeyed_with_exit_0() {
    let mut serve = Serve::start();
    serve.until_serving();
    serve.stop();
}

#[test]
fn one_process_has_a_data_folder_and_one_has_a_port() {
    let mut serve = Serve::start();
    let address = serve.until_serving();
    let (config, folder) = (serve.config(), serve.folder.path().to_owned());
    let serve_again = |data: &str, listen: &str| {
        let data = folder.join(data);
        let told = run(&[
            "serve",
            "--config",
            config.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--listen",
            listen,
        ]);
        assert_eq!(told.code, 1, "{told:?}");
        told.err.lines().last().unwrap_or_default().to_owned()
    };
    assert!(serve_again("data", "127.0.0.1:0").starts_with("DATA_LOCKED: "));
    assert!(serve_again("other", &address).starts_with("LISTEN_FAILED: "));
}

#[test]
fn a_new_document_counts_and_a_broken_one_is_refused_loudly() {
    let mut serve = Serve::start();
    serve.until_serving();
    std::fs::write(serve.config(), DOCUMENT.replace("source:", "sauce:")).unwrap();
    let refused = serve.until(says("last valid one stays"));
    assert_eq!(
        (&refused["level"], &refused["code"]),
        (&"ERROR".into(), &"CONFIG_INVALID".into())
    );
    std::fs::write(serve.config(), DOCUMENT.replace("name: core", "name: renamed")).unwrap();
    serve.until(says("a new version of the document is in force"));
}

/// The status and the body of a request with the secret.
fn request(address: &str, method: &str, path: &str, head: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn every_refusal_is_logged_with_its_reason_and_without_a_secret() {
    let mut serve = Serve::start();
    let address = serve.until_serving();
    let ok = "authorization: secret\r\n";
    let nothing = r#"{"events":[]}"#;
    for path in ["/hooks/a", "/hooks/a/"] {
        assert_eq!(request(&address, "POST", path, ok, nothing).0, 200, "{path}");
    }
    for path in ["/hooks/a/secret", "/hooks/a/secret/"] {
        assert_eq!(request(&address, "POST", path, "", nothing).0, 200, "{path}");
    }
    let large = "x".repeat(1024 * 1024 + 1);
    for (method, path, head, body, status, code) in [
        ("POST", "/hook/a/secret", ok, nothing, 404, "NOT_FOUND"),
        ("POST", "/hooks/zz", ok, nothing, 404, "UNKNOWN_SOURCE"),
        ("GET", "/hooks/a", ok, "", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/hooks/a", "", nothing, 401, "NOT_AUTHENTIC"),
        ("POST", "/hooks/a", ok, "{", 400, "DELIVERY_INVALID"),
        ("POST", "/hooks/a", ok, large.as_str(), 413, "DELIVERY_TOO_LARGE"),
        // Who does not know the secret learns nothing else, and costs no memory.
        ("POST", "/hooks/a", "", large.as_str(), 401, "NOT_AUTHENTIC"),
    ] {
        let (answered, said) = request(&address, method, path, head, body);
        assert_eq!(
            (answered, said["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {said}"
        );
        let line = serve.until(|event| event["code"] == code);
        assert_eq!(line["status"], status, "{line}");
        assert!(!line.to_string().contains("secret\""), "{line}");
        assert!(!line["message"].as_str().unwrap_or_default().is_empty());
    }
}

#[test]
fn a_hangup_reads_the_document_and_ends_nothing() {
    let mut serve = Serve::start();
    serve.until_serving();
    std::fs::write(serve.config(), DOCUMENT.replace("name: core", "name: renamed")).unwrap();
    let id = serve.child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-HUP", &id])
            .status()
            .unwrap()
            .success()
    );
    serve.until(says("SIGHUP"));
    serve.until(says("a new version of the document is in force"));
    serve.stop();
}

#[test]
fn the_first_sweep_begins_at_the_start() {
    let mut serve = Serve::start();
    serve.until_serving();
    // The registry is not there, so the sweep says so.
    serve.until(|event| event["code"] == "CONNECT_FAILED");
}

#[test]
fn a_trial_delivery_finds_a_wrong_secret_before_the_first_push() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut serve = Serve::start_in(&folder, DOCUMENT, &["--sweep", "off"]);
    let address = serve.until_serving();
    let config = serve.config();
    let check = |secret: &str, url: &str| {
        let mut command = command(&["check", "--json", "--deliver", url, "--config"]);
        finished(command.arg(&config).env("HOOK", secret))
    };
    for url in [format!("http://{address}"), format!("http://{address}/hooks/a")] {
        let tried = check("secret", &url);
        assert_eq!(tried.code, 0, "{tried:?}");
        let deliveries = tried.json()["deliveries"].clone();
        assert_eq!(
            deliveries.as_array().map(Vec::len),
            Some(2),
            "with the secret and without: {deliveries}"
        );
    }
    let tried = check("wrong", &format!("http://{address}"));
    assert_eq!((tried.code, tried.error_code()), (1, "CHECK_FAILED"));
    assert_eq!(tried.json()["deliveries"][0]["code"], "DELIVERY_REFUSED", "{tried:?}");
    assert_eq!(check("secret", &format!("http://{address}/hooks/nobody")).code, 2);
    serve.stop();
    let tried = check("secret", &format!("http://{address}"));
    assert_eq!(tried.json()["deliveries"][0]["code"], "CONNECT_FAILED", "{tried:?}");
}

#[test]
fn a_start_with_a_broken_document_takes_the_copy_of_the_last_valid_one() {
    let nothing = r#"{"events":[]}"#;
    let deliver = |address: &str, source: &str| {
        let head = "authorization: secret\r\n";
        request(address, "POST", &format!("/hooks/{source}"), head, nothing).0
    };
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let options = ["--sweep", "off"];
    let broken = [
        DOCUMENT.replace("source:", "sauce:"),
        DOCUMENT[..DOCUMENT.len() / 2].to_owned(),
        "version: 2\n".to_owned(),
        String::new(),
    ];
    // Without a copy there is nothing to start with.
    let config = folder.path().join("t.yaml");
    std::fs::write(&config, &broken[0]).unwrap();
    let data = folder.path().join("data");
    let refused = run(&[
        "serve",
        "--config",
        config.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(
        (refused.code, refused.error_code()),
        (2, "CONFIG_INVALID"),
        "{refused:?}"
    );

    let mut serve = Serve::start_in(&folder, DOCUMENT, &options);
    serve.until_serving();
    serve.stop();
    for (position, broken) in broken.iter().enumerate() {
        // A start in this state does not replace the copy, so the next one finds it as well.
        let mut serve = Serve::start_in(&folder, broken, &options);
        let fallback = serve.until(|event| event["code"] == "CONFIG_FALLBACK");
        assert_eq!(fallback["level"], "ERROR", "{fallback}");
        assert!(
            fallback["version"]
                .as_str()
                .unwrap()
                .ends_with("document-in-force.yaml"),
            "{fallback}"
        );
        let why = fallback["why"].as_str().unwrap_or_default();
        let place = if position < 2 { "line " } else { "" };
        assert!(
            !why.is_empty() && why.contains(place),
            "document {position}: {fallback}"
        );
        let address = serve.until_serving();
        assert_eq!((deliver(&address, "a"), deliver(&address, "zz")), (200, 404));
        serve.stop();
    }

    let mut serve = Serve::start_in(&folder, &broken[0], &options);
    let address = serve.until_serving();
    std::fs::write(
        serve.config(),
        DOCUMENT.replace("  a:", "  z:").replace("registry: a", "registry: z"),
    )
    .unwrap();
    serve.until(says("a new version of the document is in force"));
    assert_eq!((deliver(&address, "z"), deliver(&address, "a")), (200, 404));
    serve.stop();

    // The repaired one is the copy now.
    let mut serve = Serve::start_in(&folder, &broken[0], &options);
    serve.until(|event| event["code"] == "CONFIG_FALLBACK");
    let address = serve.until_serving();
    assert_eq!((deliver(&address, "z"), deliver(&address, "a")), (200, 404));
    serve.stop();
}
