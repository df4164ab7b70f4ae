//! The command line and the environment variables, in vmanomaly's spelling.
//!
//! Flags take one or two dashes (`-watch`, `--watch`), values after `=` or as the next argument, and a known flag may
//! come without dashes (`loggerLevel=DEBUG`). A file whose name looks like one (`watch=1`) is given as `./watch=1`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Parser};

use crate::logging::{LogFormat, LogLevel};

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// Configuration files and folders, in the order of merging; never empty.
    pub configs: Vec<PathBuf>,
    /// Check the configuration and exit.
    pub dry_run: bool,
    /// Apply changed configuration files at run time.
    pub watch: bool,
    /// How often files are compared with [`Arguments::watch`], above 0.
    pub config_check_interval: Duration,
    /// From which level on lines are logged.
    pub logger_level: LogLevel,
    /// How log lines are written; absent: text on a terminal, else JSON.
    pub logger_format: Option<LogFormat>,
    /// Folder of snapshots and input log; absent: state is in memory only.
    pub state_folder: Option<PathBuf>,
    /// How many shards there are; absent: one.
    pub topology: Option<TopologySource>,
    /// Lines to log once logging works: what was given and has no effect.
    pub remarks: Vec<(LogLevel, String)>,
    shard: Option<u32>,
    rank: Option<u32>,
    pod_name: Option<String>,
}

/// Where the number of shards comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopologySource {
    /// A file.
    File(PathBuf),
    /// `VMANOMALY_MEMBERS_COUNT`: so many shards, at least 1.
    Members(u32),
}

/// Why the command line or the environment cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum CommandLineError {
    /// A flag; `--help` and `--version` end the program in this way, too.
    #[error("{0}")]
    Flags(Box<clap::Error>),
    /// An environment variable.
    #[error("environment variable {name}={value:?}: {expected}")]
    Environment {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl CommandLineError {
    /// Prints the error, or what `--help` and `--version` ask for, and gives the exit code: 0 for those, else 2.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Flags(error) => {
                // Nobody is left to tell if the terminal is gone.
                let _ = error.print();
                if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
            }
            Self::Environment { .. } => {
                eprintln!("error: {self}");
                ExitCode::from(2)
            }
        }
    }
}

/// There are several shards, and nothing says which of them this is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the topology has {shards} shards and nothing says which one this is: give --shard, set VMANOMALY_MEMBER_NUM, or \
     run in a pod whose name ends in -<number>"
)]
pub struct ShardUnknown {
    /// Number of shards.
    pub shards: u32,
}

impl Arguments {
    /// From the arguments, the first of which is the program's name, and the environment.
    ///
    /// # Errors
    /// An unknown flag (with the nearest one), a value that does not fit, an environment variable that does not; also
    /// for `--help` and `--version`: see [`CommandLineError::report`].
    pub fn parse(
        arguments: Vec<OsString>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CommandLineError> {
        let flags = Flags::try_parse_from(normalise_arguments(arguments))
            .map_err(|error| CommandLineError::Flags(Box::new(error)))?;
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let shard = match (flags.shard, variable(MEMBER_NUM)) {
            (Some(shard), _) => Some(shard),
            (None, Some(value)) => Some(parse_shard(&value).map_err(|expected| CommandLineError::Environment {
                name: MEMBER_NUM,
                value,
                expected,
            })?),
            (None, None) => None,
        };
        let rank = match (flags.rank, variable(RANK)) {
            (Some(rank), _) => Some(rank),
            (None, Some(value)) => Some(value.parse().map_err(|_| {
                let expected = "must be the number of the rank, from 0 on";
                CommandLineError::Environment { name: RANK, value, expected }
            })?),
            (None, None) => None,
        };
        let topology = match (flags.topology, variable(MEMBERS_COUNT)) {
            (Some(path), _) => Some(TopologySource::File(path)),
            (None, Some(value)) => match value.parse() {
                Ok(members @ 1..) => Some(TopologySource::Members(members)),
                _ => {
                    let expected = "must be the number of shards, at least 1";
                    return Err(CommandLineError::Environment { name: MEMBERS_COUNT, value, expected });
                }
            },
            (None, None) => None,
        };
        let mut remarks = Vec::new();
        for (given, flag) in [
            (flags.license.is_some(), "--license"),
            (flags.license_file.is_some(), "--licenseFile"),
            (flags.license_force_offline, "--license.forceOffline"),
            (variable("VM_LICENSE_FILE").is_some(), "VM_LICENSE_FILE"),
        ] {
            if given {
                remarks.push((LogLevel::Debug, format!("{flag} has no effect: no licence is needed")));
            }
        }
        if let Some(factor) = variable("VMANOMALY_REPLICATION_FACTOR").filter(|factor| factor != "1") {
            remarks.push((
                LogLevel::Warning,
                format!(
                    "VMANOMALY_REPLICATION_FACTOR={factor} has no effect: `ranks` of the topology file says how often \
                     every shard runs"
                ),
            ));
        }
        Ok(Self {
            configs: flags.configs,
            dry_run: flags.dry_run,
            watch: flags.watch,
            config_check_interval: flags.config_check_interval,
            logger_level: flags.logger_level,
            logger_format: flags.logger_format,
            state_folder: flags.state_folder.or_else(|| variable(MODEL_DUMPS_DIR).map(PathBuf::from)),
            topology,
            remarks,
            shard,
            rank,
            pod_name: variable("POD_NAME").or_else(|| variable("HOSTNAME")),
        })
    }

    /// Which of `shards` shards this is: `--shard`, else `VMANOMALY_MEMBER_NUM`, else the one in a pod's name of the
    /// form `<name>-r<rank>-<shard>` where there is a topology file, else 0 if there is only one, else the number at the
    /// end of the pod's name. A number of `shards` or above owns nothing.
    ///
    /// # Errors
    /// There are several, and none of these says which.
    pub fn shard(&self, shards: u32) -> Result<u32, ShardUnknown> {
        match (self.shard, self.place_in_name(), &self.pod_name) {
            (Some(shard), _, _) | (None, Some((_, shard)), _) => Ok(shard),
            (None, None, _) if shards <= 1 => Ok(0),
            (None, None, Some(name)) => ordinal(name).ok_or(ShardUnknown { shards }),
            (None, None, None) => Err(ShardUnknown { shards }),
        }
    }

    /// Which rank this is among the replicas of its shard: `--rank`, else `VMANOMALY_RANK`, else the one in a pod's name
    /// of the form `<name>-r<rank>-<shard>` where there is a topology file, else 0.
    #[must_use]
    pub fn rank(&self) -> u32 {
        self.rank.or(self.place_in_name().map(|(rank, _)| rank)).unwrap_or(0)
    }

    /// Rank and shard in a pod's name. Without a topology file, nobody has named the pod for it.
    fn place_in_name(&self) -> Option<(u32, u32)> {
        let name = self.pod_name.as_ref().filter(|_| matches!(self.topology, Some(TopologySource::File(_))))?;
        let (rest, _) = name.rsplit_once('-')?;
        let (_, rank) = rest.rsplit_once("-r")?;
        let rank = rank.bytes().all(|byte| byte.is_ascii_digit()).then(|| rank.parse().ok())??;
        Some((rank, ordinal(name)?))
    }
}

const MODEL_DUMPS_DIR: &str = "VMANOMALY_MODEL_DUMPS_DIR";
const MEMBER_NUM: &str = "VMANOMALY_MEMBER_NUM";
const RANK: &str = "VMANOMALY_RANK";
const MEMBERS_COUNT: &str = "VMANOMALY_MEMBERS_COUNT";

/// Detects anomalies in time series: queries them, keeps one model per series, writes scores back.
#[derive(Debug, Parser)]
#[command(name = "vmanomaly", version, args_override_self = true, max_term_width = 120)]
#[command(
    after_help = "`vmanomaly evaluate FOLDER` runs models over labelled series: see `vmanomaly evaluate --help`."
)]
struct Flags {
    /// Configuration files and folders; values of later ones win. A folder gives its .yaml and .yml files
    #[arg(value_name = "CONFIG", default_value = "vmanomaly.yaml")]
    configs: Vec<PathBuf>,
    /// Check the configuration and exit
    #[arg(long = "dryRun", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = parse_boolean, action = ArgAction::Set)]
    dry_run: bool,
    /// Apply changed configuration files without a restart
    #[arg(long = "watch", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = parse_boolean, action = ArgAction::Set)]
    watch: bool,
    /// How often files are compared with --watch
    #[arg(long = "configCheckInterval", value_name = "DURATION", default_value = "30s",
        value_parser = parse_interval)]
    config_check_interval: Duration,
    /// Least severe lines to log: DEBUG, INFO, WARNING, ERROR or CRITICAL (also --log-level)
    #[arg(long = "loggerLevel", value_name = "LEVEL", default_value = "INFO")]
    logger_level: LogLevel,
    /// How to write log lines: json or text [default: text on a terminal, else json]
    #[arg(long = "loggerFormat", value_name = "FORMAT")]
    logger_format: Option<LogFormat>,
    /// Folder that keeps state over restarts (also VMANOMALY_MODEL_DUMPS_DIR) [default: in memory only]
    #[arg(long = "stateFolder", value_name = "PATH")]
    state_folder: Option<PathBuf>,
    /// File that says how many shards there are (else VMANOMALY_MEMBERS_COUNT) [default: one shard]
    #[arg(long = "topology", value_name = "PATH")]
    topology: Option<PathBuf>,
    /// Number of this shard, from 0 (else VMANOMALY_MEMBER_NUM, else the end of the pod's name)
    #[arg(long = "shard", value_name = "N", value_parser = parse_shard)]
    shard: Option<u32>,
    /// Number of this rank among the replicas of the shard, from 0 (else VMANOMALY_RANK, else that of a pod named
    /// <name>-r<rank>-<shard>) [default: 0]
    #[arg(long = "rank", value_name = "N")]
    rank: Option<u32>,
    /// Accepted for compatibility, no effect
    #[arg(long = "license", value_name = "STRING", hide = true, allow_hyphen_values = true)]
    license: Option<OsString>,
    /// Accepted for compatibility, no effect
    #[arg(long = "licenseFile", value_name = "PATH", hide = true)]
    license_file: Option<OsString>,
    /// Accepted for compatibility, no effect
    #[arg(long = "license.forceOffline", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = parse_boolean, action = ArgAction::Set, hide = true)]
    license_force_offline: bool,
}

/// Every spelling of a flag, how it is called in [`Flags`], and whether the next argument is its value.
const SPELLINGS: [(&str, &str, bool); 20] = [
    ("dryRun", "dryRun", false),
    ("watch", "watch", false),
    ("configCheckInterval", "configCheckInterval", true),
    ("config.check.interval", "configCheckInterval", true),
    ("config-check-interval", "configCheckInterval", true),
    ("config_check_interval", "configCheckInterval", true),
    ("loggerLevel", "loggerLevel", true),
    ("log-level", "loggerLevel", true),
    ("loggerFormat", "loggerFormat", true),
    ("stateFolder", "stateFolder", true),
    ("topology", "topology", true),
    ("shard", "shard", true),
    ("rank", "rank", true),
    ("license", "license", true),
    ("licenseFile", "licenseFile", true),
    ("license-file", "licenseFile", true),
    ("license.forceOffline", "license.forceOffline", false),
    ("help", "help", false),
    ("version", "version", false),
    ("h", "help", false),
];

/// Brings every spelling into one form: two dashes, the main name, the value after `=` or as the next argument.
/// What is no known flag stays as it is, apart from the dashes of an unknown one; so does everything after `--`, and
/// the first argument, the program's name.
#[must_use]
pub fn normalise_arguments(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut normal = Vec::with_capacity(arguments.len());
    let mut arguments = arguments.into_iter();
    normal.extend(arguments.next());
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            normal.push(argument);
            break;
        }
        let (changed, takes_next) = normalise_argument(argument);
        normal.push(changed);
        if takes_next {
            normal.extend(arguments.next());
        }
    }
    normal.extend(arguments);
    normal
}

/// One argument in its normal form, and whether the next one is its value.
fn normalise_argument(argument: OsString) -> (OsString, bool) {
    let bytes = argument.as_encoded_bytes();
    let dashes = bytes.iter().take(2).take_while(|byte| **byte == b'-').count();
    let name_end = bytes.iter().position(|byte| *byte == b'=');
    // A flag's name is ASCII; anything else is a file.
    let Some(name) = std::str::from_utf8(&bytes[dashes..name_end.unwrap_or(bytes.len())]).ok() else {
        return (argument, false);
    };
    let known = SPELLINGS.iter().find(|(spelling, _, _)| *spelling == name);
    match known {
        Some((_, main, takes_value)) if dashes > 0 || (name_end.is_some() && !["help", "version"].contains(main)) => {
            let mut normal = OsString::from(format!("--{main}"));
            if let Some(end) = name_end {
                normal.push(after_equals(&argument, end));
            }
            (normal, *takes_value && name_end.is_none())
        }
        None if dashes == 1 && name.len() > 1 => {
            let mut normal = OsString::from("-");
            normal.push(&argument);
            (normal, false)
        }
        _ => (argument, false),
    }
}

/// What `argument` has from its `=` at `end` on.
fn after_equals(argument: &OsStr, end: usize) -> OsString {
    match argument.to_str() {
        Some(text) => OsString::from(&text[end..]),
        None => invalid_unicode_after(argument, end),
    }
}

#[cfg(unix)]
fn invalid_unicode_after(argument: &OsStr, end: usize) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(&argument.as_bytes()[end..]).to_owned()
}

#[cfg(not(unix))]
fn invalid_unicode_after(argument: &OsStr, end: usize) -> OsString {
    argument.to_string_lossy().get(end..).map(OsString::from).unwrap_or_default()
}

fn parse_boolean(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("must be true, false, 1 or 0"),
    }
}

fn parse_interval(text: &str) -> Result<Duration, config::duration::DurationError> {
    config::duration::parse(text).map(|milliseconds| Duration::from_millis(milliseconds.unsigned_abs()))
}

fn parse_shard(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().or_else(|| ordinal(text)).ok_or("must be a number from 0 on, or a pod's name that ends in one")
}

/// The number after the last dash of a pod's name.
fn ordinal(pod_name: &str) -> Option<u32> {
    let (_, digits) = pod_name.rsplit_once('-')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalised(arguments: &[&str]) -> Vec<String> {
        let all = std::iter::once("vmanomaly").chain(arguments.iter().copied()).map(OsString::from).collect();
        normalise_arguments(all).into_iter().skip(1).map(|text| text.into_string().unwrap()).collect()
    }

    #[test]
    fn every_spelling_of_a_flag_means_the_same() {
        for spelling in ["-watch", "--watch"] {
            assert_eq!(normalised(&[spelling]), ["--watch"]);
        }
        for spelling in ["-loggerLevel=DEBUG", "--loggerLevel=DEBUG", "loggerLevel=DEBUG", "--log-level=DEBUG"] {
            assert_eq!(normalised(&[spelling]), ["--loggerLevel=DEBUG"]);
        }
        for spelling in ["-config.check.interval", "--config-check-interval", "--config_check_interval"] {
            assert_eq!(normalised(&[spelling, "5s"]), ["--configCheckInterval", "5s"]);
        }
    }

    #[test]
    fn files_stay_files() {
        for file in ["a=b.yaml", "watch", "./watch=1", "folder/loggerLevel=x", "h=1", "version=2", "-", "=", ""] {
            assert_eq!(normalised(&[file]), [file]);
        }
        assert_eq!(normalised(&["--", "-watch", "watch=1"]), ["--", "-watch", "watch=1"]);
    }

    #[test]
    fn the_value_of_a_flag_is_not_taken_for_a_flag() {
        assert_eq!(normalised(&["-license", "watch=1", "-watch"]), ["--license", "watch=1", "--watch"]);
    }

    #[cfg(unix)]
    #[test]
    fn values_and_files_need_not_be_unicode() {
        use std::os::unix::ffi::OsStringExt;
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let arguments = vec![text(b"vmanomaly"), text(b"-stateFolder=/\xff"), text(b"\xff=1")];
        let expected = vec![text(b"vmanomaly"), text(b"--stateFolder=/\xff"), text(b"\xff=1")];
        assert_eq!(normalise_arguments(arguments), expected);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing_more(
            arguments in proptest::collection::vec("(-{0,2}(watch|license|loggerLevel|x|yz)?(=[a-z=-]{0,3})?)", 0..6)
        ) {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let once = normalised(&arguments);
            let again: Vec<&str> = once.iter().map(String::as_str).collect();
            prop_assert_eq!(normalised(&again), once.clone());
        }
    }
}
