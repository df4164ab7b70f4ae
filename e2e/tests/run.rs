//! `make run` as its user sees it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "functions that tests share are tests, too")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that a failed test does not leave behind.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_run"));
    command.args(arguments).env_remove("CLUSTER").stdin(Stdio::null()).stdout(Stdio::piped());
    Program(command.spawn().unwrap())
}

fn lines(program: &mut Program) -> impl Iterator<Item = String> + use<> {
    BufReader::new(program.0.stdout.take().unwrap()).lines().map_while(Result::ok)
}

#[test]
fn once_it_ends_with_the_alert_and_says_how_long_each_part_took() {
    let begin = Instant::now();
    let mut program = run(&["--once", "--part", "tools=2.5"]);
    let told: Vec<_> = lines(&mut program).collect();
    let status = program.0.wait().unwrap();
    assert!(status.success(), "{told:#?}");
    assert!(begin.elapsed() < Duration::from_secs(180), "less than three minutes: {told:#?}");
    let alert = told.iter().position(|line| line.starts_with("The alert fired for the incident")).unwrap();
    let says = &told[alert + 1];
    assert!(says.contains("expected 2") && says.ends_with(", was 1.334."), "{says}");
    let report: Vec<_> = told[alert..].iter().filter_map(|line| line.trim().split("  ").next()).collect();
    for part in ["tools", "images", "node", "demonstration", "history", "operator", "objects", "workers", "replay"] {
        assert!(report.contains(&part), "{part}: {report:?}");
    }
    let table = |name: &str| told.iter().any(|line| line.trim_start().starts_with(name));
    assert!(table("asg_cpu_percent") && table("memory") && table("network"), "{told:#?}");
}

#[test]
fn ctrl_c_in_the_middle_takes_everything_down() {
    let mut program = run(&[]);
    let mut told = lines(&mut program);
    let node = told.find(|line| line.contains("--kubeconfig")).unwrap();
    let kubeconfig = PathBuf::from(node.rsplit(' ').next().unwrap());
    assert!(kubeconfig.is_file());
    // The next step begins.
    told.find(|line| line.contains("history")).unwrap();
    let process = program.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let rest: Vec<_> = told.collect();
    assert_eq!(program.0.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(!kubeconfig.parent().unwrap().exists(), "nothing is left of the node");
}
