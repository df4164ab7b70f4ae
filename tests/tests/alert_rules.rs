//! The shipped alert rules, with the programs that evaluate them.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tests::components::{Program, find, repository};
use tests::vmalert::rule_files;

fn folder() -> PathBuf {
    repository().join("deploy/alerts")
}

fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(key)).map(str::trim).collect()
}

#[test]
fn vmalert_accepts_every_rule_file() {
    for file in rule_files(&folder()).unwrap() {
        let rule = format!("-rule={}", file.display());
        let output = Command::new(find(Program::Vmalert).unwrap()).args(["-dryRun", &rule]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_unit_tests_of_the_rules_pass() {
    for file in rule_files(&folder().join("tests")).unwrap() {
        let files = format!("--files={}", file.display());
        let output = Command::new(find(Program::VmalertTool).unwrap()).args(["unittest", &files]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn every_rule_has_a_unit_test_in_which_it_alerts_and_one_in_which_it_does_not() {
    let mut alerting = BTreeSet::new();
    let mut silent = BTreeSet::new();
    for file in rule_files(&folder().join("tests")).unwrap() {
        let text = fs::read_to_string(file).unwrap();
        for case in text.split("- groupname:").skip(1) {
            let name = values(case, "alertname:")[0].to_owned();
            if case.contains("exp_alerts: []") {
                silent.insert(name)
            } else {
                alerting.insert(name)
            };
        }
    }
    let rules: String = rule_files(&folder()).unwrap().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let names: BTreeSet<_> = values(&rules, "alert:").into_iter().map(str::to_owned).collect();
    assert!(!names.is_empty());
    assert_eq!((&alerting, &silent), (&names, &names));
}
