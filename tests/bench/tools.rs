//! The measured clients: transship, and every other tool that is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use transship_tests::{process, transship};

/// A client that copies an image between two registries over plain HTTP.
#[derive(Debug, Clone)]
pub struct Tool {
    /// As its column is called.
    pub name: &'static str,
    program: PathBuf,
}

/// The parameters of a copy.
#[derive(Debug, Clone)]
pub struct Order {
    /// `host/repository:tag`
    pub source: String,
    /// The same.
    pub destination: String,
    /// A folder of its own, which a client may remember in.
    pub memory: PathBuf,
    /// Referrers too, where the client knows them.
    pub referrers: bool,
}

/// Ours first, then the peers that are installed.
pub fn found() -> Vec<Tool> {
    let mut tools = vec![Tool {
        name: "transship",
        program: transship::binary(),
    }];
    for name in ["skopeo", "crane", "regctl", "oras"] {
        if let Some(program) = process::find_in_path(name).or_else(|| in_go_folder(name)) {
            tools.push(Tool { name, program });
        }
    }
    tools
}

/// Where `go install` puts programs.
pub fn in_go_folder(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("GOBIN").map(PathBuf::from);
    let usual = std::env::var_os("HOME").map(|home| Path::new(&home).join("go/bin"));
    named
        .into_iter()
        .chain(usual)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

impl Tool {
    /// The command that carries the order out.
    pub fn copy(&self, order: &Order) -> Command {
        let Order {
            source,
            destination,
            memory,
            referrers,
        } = order;
        let mut command = Command::new(&self.program);
        command
            .env("DOCKER_CONFIG", memory)
            .env("REGCTL_CONFIG", memory.join("regctl.json"));
        match self.name {
            "transship" => {
                command
                    .args(["copy", source, destination, "--json", "--data"])
                    .arg(memory);
                command.args(["--referrers", if *referrers { "include" } else { "exclude" }])
            }
            "skopeo" => command
                .args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"])
                .args([format!("docker://{source}"), format!("docker://{destination}")]),
            "crane" => command.args(["copy", "--insecure", source, destination]),
            "regctl" => {
                for reference in [source, destination] {
                    let host = reference.split('/').next().unwrap_or_default();
                    command.args(["--host", &format!("reg={host},tls=disabled")]);
                }
                command.args(["image", "copy"]);
                if *referrers {
                    command.arg("--referrers");
                }
                command.args([source, destination])
            }
            _ => {
                command.args(["copy", "--from-plain-http", "--to-plain-http", "--no-tty"]);
                if *referrers {
                    command.arg("--recursive");
                }
                command.args([source, destination])
            }
        };
        command
    }

    /// The command that brings the layouts `names` below `folder` to `copy/NAME:v1` of `host`; of a client that takes one
    /// layout at a time, one after the other.
    pub fn import(&self, folder: &Path, names: &[String], host: &str, memory: &Path) -> Command {
        let mut command;
        if self.name == "transship" {
            command = Command::new(&self.program);
            command.arg("import").arg(folder);
            command
                .args(["--to", &format!("{host}/copy"), "--json", "--data"])
                .arg(memory);
        } else {
            let mut lines: Vec<String> = names
                .iter()
                .map(|name| {
                    let layout = folder.join(name).display().to_string();
                    self.import_line(&layout, &format!("{host}/copy/{name}:v1"))
                })
                .collect();
            // The last takes the shell's place, so that the memory of one layout's client is its own.
            if let Some(last) = lines.last_mut() {
                last.insert_str(0, "exec ");
            }
            command = Command::new("sh");
            command.args(["-ec", &lines.join("\n")]);
        }
        command
            .env("DOCKER_CONFIG", memory)
            .env("REGCTL_CONFIG", memory.join("regctl.json"));
        command
    }

    /// The shell command that copies one layout.
    fn import_line(&self, layout: &str, destination: &str) -> String {
        let program = self.program.display();
        let host = destination.split('/').next().unwrap_or_default();
        match self.name {
            "skopeo" => {
                format!("{program} copy --quiet --dest-tls-verify=false oci:{layout}:v1 docker://{destination}")
            }
            "crane" => format!("{program} push --insecure {layout} {destination}"),
            "regctl" => {
                format!("{program} --host reg={host},tls=disabled image copy ocidir://{layout}:v1 {destination}")
            }
            _ => format!("{program} copy --no-tty --to-plain-http --from-oci-layout {layout}:v1 {destination}"),
        }
    }

    /// What it says of its version, in one line.
    pub fn version(&self) -> String {
        let word = if self.name == "transship" || self.name == "skopeo" {
            "--version"
        } else {
            "version"
        };
        let said = Command::new(&self.program)
            .arg(word)
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&said);
        let line = text
            .lines()
            .find(|line| line.chars().any(|letter| letter.is_ascii_digit()))
            .unwrap_or("?");
        line.split_whitespace().last().unwrap_or("?").to_owned()
    }
}
