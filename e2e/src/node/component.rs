//! A program of the node, with its log.

use std::fs::{self, File};
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use tokio::process::Child;

use super::configuration::Start;
use super::isolation::environment;
use super::protocol::Settings;

/// A running program of the node.
#[derive(Debug)]
pub struct Component {
    /// Its name.
    pub name: &'static str,
    child: Child,
}

impl Component {
    /// Starts it, with its output in a log of its name.
    ///
    /// # Errors
    /// When its log cannot be made or the system does not start it.
    pub fn start(settings: &Settings, start: &Start) -> io::Result<Self> {
        let log = settings.log(start.name);
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)?;
        }
        let output = File::options().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        let mut command = Command::new(settings.programs.path(start.name));
        command.args(&start.arguments).stdin(Stdio::null()).stdout(output).stderr(errors).current_dir("/");
        environment(&mut command, settings);
        let child = tokio::process::Command::from(command).spawn()?;
        Ok(Self { name: start.name, child })
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

/// The last lines of a component's log.
#[must_use]
pub fn last_lines(settings: &Settings, name: &str) -> String {
    let log = fs::read(settings.log(name)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
}
