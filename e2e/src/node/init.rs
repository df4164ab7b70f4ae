//! The first process inside: starts the node's own, collects what ends, and clears up what namespaces do not.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::isolation::cgroups;
use super::protocol::Settings;

/// Runs `inside` of this same program until it ends, then ends everything that is left, removes the pods' cgroups and
/// the node's folder. Its own end ends the namespaces.
#[must_use]
pub fn run(settings: &Settings, argument: &str) -> ExitCode {
    let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    // The socket to the outside and the listener of the API server are this process's stdin and stdout.
    let child = Command::new(program)
        .args(["inside", argument])
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .spawn();
    match child {
        Ok(child) => {
            while !matches!(wait(WaitOptions::empty()), Ok(Some((ended, _))) if ended.as_raw_nonzero().get().cast_unsigned() == child.id())
            {
            }
        }
        Err(error) => eprintln!("the node's first process: {error}"),
    }
    end_all();
    // Cgroups belong to no namespace of the node.
    for cgroup in cgroups(&settings.cgroup) {
        remove_folders(&cgroup);
    }
    let _ = fs::remove_dir_all(&settings.folder);
    ExitCode::SUCCESS
}

/// Kills every other process of this namespace until none is left. /proc is this namespace's own.
fn end_all() {
    loop {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let others = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for other in others.filter(|id| *id > 1).filter_map(Pid::from_raw) {
            let _ = kill_process(other, Signal::KILL);
        }
        // Everything that loses its parent becomes a child of this process.
        if wait(WaitOptions::empty()).is_err() {
            return;
        }
    }
}

/// Cgroups are removed as folders, innermost first; their files cannot be removed and need not be.
fn remove_folders(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
