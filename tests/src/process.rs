//! A child process that does not outlive the value that stands for it, nor the test.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::components::ComponentError;

/// How often a state of another process that cannot be awaited is looked at.
pub const POLL: Duration = Duration::from_millis(20);

/// How long a component may take to answer after its start.
pub const START: Duration = Duration::from_secs(30);

/// Why a component could not be started.
#[derive(thiserror::Error)]
pub enum StartError {
    /// Its program is not there.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// The system did not start it, or its folder or files could not be made.
    #[error("{name}: {source}")]
    Io {
        /// The component.
        name: String,
        /// What failed.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("{name} ended with {status} before {awaited}; its last lines:\n{log}")]
    Ended {
        /// The component.
        name: String,
        /// What was waited for.
        awaited: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        log: String,
    },
    /// It took too long.
    #[error("{name} runs, but {awaited} did not come within {within:?}; its last lines:\n{log}")]
    Late {
        /// The component.
        name: String,
        /// What was waited for.
        awaited: String,
        /// How long.
        within: Duration,
        /// The end of its output.
        log: String,
    },
}

impl std::fmt::Debug for StartError {
    /// As its message: `unwrap` in a test then prints what to do.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

/// A running child process.
///
/// It is in a process group of its own, so that Ctrl-C reaches only the program that started it, which ends its
/// children in order. Dropping the value kills it. A small shell holds the other end of a pipe and kills it when this
/// process dies without dropping anything (SIGKILL, abort).
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    guard: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`.
    ///
    /// # Errors
    /// When the file cannot be opened or the system does not start the program.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::Io { name: name.to_owned(), source };
        let output = File::options().create(true).append(true).open(log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let child = command.spawn().map_err(failed)?;
        let mut process = Self { name: name.to_owned(), child, guard: None, log: log.to_path_buf() };
        process.guard = Some(guard(process.id()).map_err(failed)?);
        Ok(process)
    }

    /// The component's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines it has printed.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        self.dismiss_guard();
        Some(status)
    }

    /// Waits until `find` finds something in the output.
    ///
    /// # Errors
    /// When the process ends or nothing is found in time; the message has its last lines.
    pub async fn wait_for_output<T>(
        &mut self,
        awaited: &str,
        within: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StartError> {
        self.wait_until(awaited, within, async |process| find(&process.output())).await
    }

    /// Waits until `look` brings something.
    ///
    /// # Errors
    /// When the process ends or nothing comes in time; the message has its last lines.
    pub async fn wait_until<T>(
        &mut self,
        awaited: &str,
        within: Duration,
        mut look: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> Result<T, StartError> {
        let begin = Instant::now();
        loop {
            let ended = self.ended();
            if let Some(found) = look(self).await {
                return Ok(found);
            }
            let (name, awaited) = (self.name.clone(), awaited.to_owned());
            if let Some(status) = ended {
                return Err(StartError::Ended { name, awaited, status, log: self.last_lines() });
            }
            if begin.elapsed() > within {
                return Err(StartError::Late { name, awaited, within, log: self.last_lines() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        let status = self.child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0));
        self.dismiss_guard();
        status
    }

    /// Asks it to end with SIGTERM and waits; kills it when it takes longer than `within`.
    pub async fn terminate(&mut self, within: Duration) -> ExitStatus {
        if self.ended().is_none() {
            self.signal("TERM");
        }
        match self.wait_until("its end", within, async |_| None::<()>).await {
            Err(StartError::Ended { status, .. }) => status,
            _ => self.kill(),
        }
    }

    /// Stops it with SIGSTOP: it stays, and does nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let _ = Command::new("sh").args(["-c", "kill -\"$2\" \"$1\"", "sh", &self.id().to_string(), name]).status();
    }

    /// Processor time of all its threads so far, with a resolution of 10 ms.
    ///
    /// # Errors
    /// When the process has ended, or the system has no `/proc`.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // Fields 14 and 15 of proc_pid_stat(5); the name, field 2, may itself contain blanks and parentheses.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        // USER_HZ, in which the kernel reports to programs, is 100 on every architecture that Rust's Linux targets have.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory, bytes: now, and at its highest so far.
    ///
    /// # Errors
    /// When the process has ended, or the system has no `/proc`.
    pub fn resident_bytes(&self) -> io::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()).and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        };
        match (field("VmRSS:"), field("VmHWM:")) {
            (Some(now), Some(highest)) => Ok((now * 1024, highest * 1024)),
            _ => Err(io::Error::other(format!("{} has ended", self.name))),
        }
    }

    /// Only after the child was waited for: until then nobody else can get its id.
    fn dismiss_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the end of this process, which closes the pipe, and then kills the child.
fn guard(child: u32) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", "read -r _; kill -KILL \"$1\" 2>/dev/null", "sh", &child.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// A loopback port that is free now, for programs that do not say which port they took.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The address in the line with which VictoriaMetrics' programs and Prometheus' exporters say where they listen.
#[must_use]
pub fn listen_address(output: &str) -> Option<SocketAddr> {
    output.lines().find_map(|line| {
        let (_, rest) =
            line.split_once("started server at http://").or_else(|| line.split_once("\"Listening on\" address="))?;
        rest.split(['/', ' ']).next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("shell", command, log).unwrap()
    }

    fn is_alive(id: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    #[tokio::test]
    async fn a_program_that_ends_early_is_reported_with_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo no such disk; exit 3", &folder.path().join("log"));
        let error = process.wait_for_output("readiness", START, |_| None::<()>).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("exit status: 3") && message.contains("no such disk"), "{message}");
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell("exec sleep 600", &folder.path().join("log"));
        let id = process.id();
        assert!(is_alive(id));
        drop(process);
        assert!(!is_alive(id));
    }

    #[tokio::test]
    async fn a_child_dies_with_a_parent_that_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell("exec sleep 600", &folder.path().join("log"));
        let id = process.id();
        let mut guard = guard(id).unwrap();
        // What the kernel does with the pipe of a process that dies.
        drop(guard.stdin.take());
        guard.wait().unwrap();
        let begin = Instant::now();
        while is_alive(id) && begin.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(POLL).await;
        }
        assert!(!is_alive(id));
    }

    #[tokio::test]
    async fn a_process_that_is_terminated_may_end_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done", &folder.path().join("log"));
        process.wait_for_output("its trap", START, |output| output.contains("ready").then_some(())).await.unwrap();
        assert_eq!(process.terminate(START).await.code(), Some(7));
    }

    #[test]
    fn both_families_of_programs_say_where_they_listen() {
        let expected = Some("127.0.0.1:38243".parse().unwrap());
        assert_eq!(
            listen_address("2026\tinfo\thttpserver.go:169\tstarted server at http://127.0.0.1:38243/\n"),
            expected
        );
        assert_eq!(listen_address("level=info msg=\"Listening on\" address=127.0.0.1:38243\n"), expected);
        assert_eq!(listen_address("Start listening for connections address=127.0.0.1:0"), None);
    }
}
