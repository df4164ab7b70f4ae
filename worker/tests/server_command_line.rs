//! What a user of vmanomaly types, and what it means.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use worker::command_line::{Arguments, CommandLineError, TopologySource};
use worker::logging::{LogFormat, LogLevel};

fn parse_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Arguments, CommandLineError> {
    let environment: HashMap<&str, &str> = environment.iter().copied().collect();
    let arguments = std::iter::once("vmanomaly").chain(arguments.iter().copied()).map(Into::into).collect();
    Arguments::parse(arguments, |name| environment.get(name).map(|value| (*value).to_owned()))
}

fn parse(arguments: &[&str]) -> Arguments {
    parse_with(arguments, &[]).unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    parse_with(arguments, &[]).unwrap_err().to_string()
}

#[test]
fn without_arguments_the_documented_defaults_hold() {
    let arguments = parse(&[]);
    assert_eq!(arguments.configs, [PathBuf::from("vmanomaly.yaml")]);
    assert!(!arguments.watch && !arguments.dry_run);
    assert_eq!(arguments.config_check_interval, Duration::from_secs(30));
    assert_eq!(arguments.logger_level, LogLevel::Info);
    assert_eq!((arguments.logger_format, arguments.topology, arguments.state_folder), (None, None, None));
    assert!(arguments.remarks.is_empty());
}

#[test]
fn the_command_line_that_the_vm_operator_makes_is_understood() {
    let line = ["--loggerLevel=warning", "--license.forceOffline", "--licenseFile=/l", "--watch", "/config/v.yaml"];
    let arguments = parse(&line);
    assert_eq!(arguments.logger_level, LogLevel::Warning);
    assert!(arguments.watch);
    assert_eq!(arguments.configs, [PathBuf::from("/config/v.yaml")]);
    assert_eq!(arguments.remarks.len(), 2);
    assert!(arguments.remarks.iter().all(|(level, text)| *level == LogLevel::Debug && text.contains("--license")));
}

#[test]
fn all_flags_take_their_values_in_any_form_and_among_the_files() {
    let arguments = parse(&[
        "a.yaml",
        "-watch=1",
        "configCheckInterval=5s",
        "-loggerLevel",
        "fatal",
        "b.yaml",
        "--dryRun=TRUE",
        "--loggerFormat=text",
        "-stateFolder",
        "/state",
        "--topology=/t.yaml",
        "--shard",
        "2",
        "a=b.yaml",
    ]);
    assert_eq!(arguments.configs, ["a.yaml", "b.yaml", "a=b.yaml"].map(PathBuf::from));
    assert!(arguments.watch && arguments.dry_run);
    assert_eq!(arguments.config_check_interval, Duration::from_secs(5));
    assert_eq!(arguments.logger_level, LogLevel::Critical);
    assert_eq!(arguments.logger_format, Some(LogFormat::Text));
    assert_eq!(arguments.state_folder, Some("/state".into()));
    assert_eq!(arguments.topology, Some(TopologySource::File("/t.yaml".into())));
    assert_eq!(arguments.shard(4), Ok(2));
}

#[test]
fn the_last_of_repeated_flags_counts() {
    assert!(!parse(&["--watch", "-watch=false"]).watch);
    assert_eq!(parse(&["loggerLevel=DEBUG", "--log-level", "error"]).logger_level, LogLevel::Error);
}

#[test]
fn an_unknown_flag_is_refused_with_the_nearest_one() {
    let message = refusal(&["-wacth"]);
    assert!(message.contains("--wacth") && message.contains("--watch"), "{message}");
    let message = refusal(&["--loggerLvl=INFO"]);
    assert!(message.contains("--loggerLevel"), "{message}");
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_its_flag() {
    for (argument, hint) in [
        ("--watch=maybe", "true, false, 1 or 0"),
        ("--configCheckInterval=0s", "longer than 0"),
        ("-configCheckInterval=soon", "30s"),
        ("--loggerLevel=loud", "WARNING"),
        ("--loggerFormat=xml", "json"),
        ("--shard=last", "number"),
    ] {
        let message = refusal(&[argument]);
        let flag = argument.trim_start_matches('-').split('=').next().unwrap();
        assert!(message.contains(flag) && message.contains(hint), "{message}");
    }
}

#[test]
fn help_and_version_end_with_success_and_errors_do_not() {
    for flag in ["-h", "--help", "-help", "--version", "-version"] {
        let CommandLineError::Flags(error) = parse_with(&[flag], &[]).unwrap_err() else { panic!("{flag}") };
        assert!(!error.use_stderr(), "{flag}");
    }
    let CommandLineError::Flags(error) = parse_with(&["--nonsense"], &[]).unwrap_err() else { panic!() };
    assert!(error.use_stderr());
}

#[test]
fn the_shard_comes_from_the_flag_then_the_variable_then_the_pod() {
    let shard = |arguments: &[&str], environment: &[(&str, &str)], shards| {
        parse_with(arguments, environment).unwrap().shard(shards)
    };
    let pod = ("HOSTNAME", "vmanomaly-7");
    assert_eq!(shard(&["--shard=1"], &[("VMANOMALY_MEMBER_NUM", "2"), pod], 9), Ok(1));
    assert_eq!(shard(&[], &[("VMANOMALY_MEMBER_NUM", "2"), pod], 9), Ok(2));
    assert_eq!(shard(&[], &[("VMANOMALY_MEMBER_NUM", "vmanomaly-set-5")], 9), Ok(5));
    assert_eq!(shard(&[], &[pod], 9), Ok(7));
    assert_eq!(shard(&[], &[("POD_NAME", "a-3"), pod], 9), Ok(3));
    assert_eq!(shard(&[], &[pod], 1), Ok(0), "one shard needs no number");
    let message = shard(&[], &[("HOSTNAME", "laptop")], 2).unwrap_err().to_string();
    assert!(message.contains("2 shards") && message.contains("--shard"), "{message}");
}

#[test]
fn the_rank_comes_from_the_flag_then_the_variable_then_the_pod_which_says_the_shard_too() {
    let place = |arguments: &[&str], environment: &[(&str, &str)], shards| {
        let arguments = parse_with(arguments, environment).unwrap();
        (arguments.rank(), arguments.shard(shards).unwrap())
    };
    let (file, pod) = ("--topology=t.yaml", ("POD_NAME", "anomaly-main-r1-2"));
    assert_eq!(place(&[file, "--rank=4"], &[("VMANOMALY_RANK", "3"), pod], 5), (4, 2));
    assert_eq!(place(&[file], &[("VMANOMALY_RANK", "3"), pod], 5), (3, 2));
    assert_eq!(place(&[file], &[pod], 5), (1, 2));
    assert_eq!(place(&[file], &[pod], 1), (1, 2), "a pod that is not needed any more does not become another one");
    assert_eq!(place(&[file], &[("POD_NAME", "anomaly-rx-2")], 5), (0, 2));
    assert_eq!(place(&[], &[pod], 1), (0, 0), "without a topology file, names mean nothing");
    for (arguments, environment) in [(&["--rank=-1"], vec![]), (&["--watch"], vec![("VMANOMALY_RANK", "first")])] {
        let message = parse_with(arguments, &environment).unwrap_err().to_string();
        assert!(message.to_lowercase().contains("rank"), "{message}");
    }
}

#[test]
fn vmanomalys_environment_variables_are_honoured() {
    let environment = [("VMANOMALY_MODEL_DUMPS_DIR", "/storage/model"), ("VMANOMALY_MEMBERS_COUNT", "3")];
    let arguments = parse_with(&[], &environment).unwrap();
    assert_eq!(arguments.state_folder, Some("/storage/model".into()));
    assert_eq!(arguments.topology, Some(TopologySource::Members(3)));
    let arguments = parse_with(&["--stateFolder=/other", "--topology=t.yaml"], &environment).unwrap();
    assert_eq!(arguments.state_folder, Some("/other".into()));
    assert_eq!(arguments.topology, Some(TopologySource::File("t.yaml".into())));
    assert_eq!(parse_with(&[], &[("VMANOMALY_MEMBERS_COUNT", "")]).unwrap().topology, None);
}

#[test]
fn an_impossible_environment_variable_is_refused_by_name() {
    for (name, value) in [("VMANOMALY_MEMBERS_COUNT", "0"), ("VMANOMALY_MEMBER_NUM", "first")] {
        let message = parse_with(&[], &[(name, value)]).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(value), "{message}");
    }
}

#[test]
fn a_replication_factor_that_has_no_effect_is_said_aloud() {
    let arguments = parse_with(&[], &[("VMANOMALY_REPLICATION_FACTOR", "2")]).unwrap();
    assert_eq!(arguments.remarks[0].0, LogLevel::Warning);
    assert!(parse_with(&[], &[("VMANOMALY_REPLICATION_FACTOR", "1")]).unwrap().remarks.is_empty());
}
