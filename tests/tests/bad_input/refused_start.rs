//! What keeps a worker from starting: it ends with a code other than 0 and one message that says what to change.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tests::components::{Program, find};
use tests::worker::{Ended, Worker, WorkerSetup, log_lines, run_command_to_end, run_to_end};

const SOON: Duration = Duration::from_secs(20);

/// A configuration that is right, line by line.
const GOOD: &str = "\
schedulers:
  s: {class: periodic, fit_window: 1h, fit_every: 1d, infer_every: 1m}
models:
  zscore:
    class: zscore_online
    z_threshold: 3
    queries: all
    schedulers: all
reader:
  datasource_url: http://127.0.0.1:9
  sampling_period: 1m
  queries:
    load:
      expr: load
      data_range: [0, 10]
writer:
  datasource_url: http://127.0.0.1:9
server: {addr: 127.0.0.1, port: 0}
";

struct Case {
    folder: TempDir,
    arguments: Vec<String>,
}

impl Case {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config).unwrap();
        let arguments = vec![file.display().to_string()];
        Self { folder, arguments }
    }

    /// The good one with a line changed.
    fn changed(from: &str, to: &str) -> Self {
        assert!(GOOD.contains(from), "{from}");
        Self::new(&GOOD.replace(from, to))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    async fn run(&self) -> Ended {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        run_to_end(&arguments, &[], SOON).await.unwrap()
    }

    /// Runs it and checks that it refuses in words that contain all of `words`.
    async fn is_refused_with(&self, words: &[&str]) {
        is_refusal(&self.run().await, words);
    }
}

fn is_refusal(ended: &Ended, words: &[&str]) {
    let output = &ended.output;
    assert!(ended.status.code().is_some_and(|code| code != 0), "{:?}: {output}", ended.status);
    assert!(!output.contains("panicked"), "{output}");
    let lines = log_lines(output);
    let says_all = |message: &str| words.iter().all(|word| message.contains(word));
    let last = lines.last().and_then(|line| line["message"].as_str()).unwrap_or_default();
    assert!(says_all(last), "not all of {words:?} are in {last:?} of\n{output}");
}

/// `config.yaml:LINE:` of the line of [`GOOD`] that contains `text`.
fn place(text: &str) -> String {
    let line = GOOD.lines().position(|line| line.contains(text)).unwrap();
    format!("config.yaml:{}:", line + 1)
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_its_place_and_the_nearest_key() {
    let case = Case::changed("z_threshold", "z_treshold");
    let key = "models.zscore.z_treshold: unknown key";
    case.is_refused_with(&[&place("z_threshold"), key, "`z_threshold`"]).await;
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_refused_with_what_is_there_and_what_is_allowed() {
    let case = Case::changed("z_threshold: 3", "z_threshold: high");
    let words = [&place("z_threshold"), "models.zscore.z_threshold:", "a number", "high"];
    case.is_refused_with(&words).await;
}

#[tokio::test]
async fn an_impossible_range_is_refused_with_both_bounds() {
    let case = Case::changed("[0, 10]", "[10, 1]");
    let words = [&place("data_range"), "reader.queries.load.data_range", "10", "1", "low"];
    case.is_refused_with(&words).await;
}

#[tokio::test]
async fn a_missing_environment_variable_is_refused_by_name_and_a_set_one_is_taken() {
    let case = Case::changed("z_threshold: 3", "z_threshold: '%{NO_SUCH_VARIABLE}'").with("--dryRun");
    let words = [&place("z_threshold"), "models.zscore.z_threshold", "`NO_SUCH_VARIABLE` is not set"];
    case.is_refused_with(&words).await;
    let arguments: Vec<&str> = case.arguments.iter().map(String::as_str).collect();
    let ended = run_to_end(&arguments, &[("NO_SUCH_VARIABLE", "2.5")], SOON).await.unwrap();
    assert!(ended.status.success(), "{}", ended.output);
}

#[tokio::test]
async fn all_errors_of_all_files_are_told_at_once() {
    let case = Case::new(&GOOD.replace("z_threshold: 3", "z_threshold: -1").replace("expr: load", "exp: load"));
    let second = case.path("second.yaml");
    std::fs::write(&second, "settings: {setle: 1s}\n").unwrap();
    let case = case.with(second.display().to_string());
    let words = [
        "models.zscore.z_threshold",
        "-1",
        "reader.queries.load.exp:",
        "`expr`",
        "second.yaml:1:",
        "settings.setle",
        "`settle`",
    ];
    case.is_refused_with(&words).await;
}

#[tokio::test]
async fn a_missing_file_is_refused_by_its_path() {
    let case = Case::new(GOOD);
    let missing = case.path("missing.yaml").display().to_string();
    case.with(&missing).is_refused_with(&[&missing, "no such file"]).await;
}

#[tokio::test]
async fn state_that_shall_be_restored_needs_a_folder() {
    let case = Case::new(&format!("{GOOD}settings: {{restore_state: true}}\n"));
    case.is_refused_with(&["settings.restore_state", "--stateFolder"]).await;
}

#[tokio::test]
async fn a_state_folder_of_a_newer_version_is_refused_and_left_as_it_is() {
    let case = Case::new(GOOD);
    let state = case.path("state");
    let setup = WorkerSetup {
        config: GOOD.to_owned(),
        arguments: vec![format!("--stateFolder={}", state.display())],
        ..WorkerSetup::default()
    };
    drop(Worker::start(setup).await.unwrap());

    // The version is the word after 8 bytes of magic, and the next word is the CRC-32C of both.
    let mark = state.join("format");
    let mut bytes = std::fs::read(&mark).unwrap();
    bytes[8..12].copy_from_slice(&999_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&checksum);
    std::fs::write(&mark, &bytes).unwrap();
    let case = case.with(format!("--stateFolder={}", state.display()));
    case.is_refused_with(&["format", "version 999", "another state folder"]).await;
    assert_eq!(std::fs::read(&mark).unwrap(), bytes);
}

#[tokio::test]
async fn a_read_only_state_folder_is_refused_by_its_path() {
    let case = Case::new(GOOD);
    let (state, program) = (case.path("state"), case.path("vmanomaly"));
    std::fs::create_dir(&state).unwrap();
    std::fs::copy(find(Program::Worker).unwrap(), &program).unwrap();
    for (path, mode) in [(case.folder.path(), 0o755), (&state, 0o555), (&case.path("config.yaml"), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(&case.arguments).arg(format!("--stateFolder={}", state.display()));
    // For root nothing is read-only; its processes may become somebody else.
    if is_root() {
        command.uid(65_534);
    }
    let ended = run_command_to_end(command, SOON).await.unwrap();
    is_refusal(&ended, &["state folder", &state.display().to_string(), "cannot be used", "denied"]);
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

#[tokio::test]
async fn a_state_folder_that_another_worker_uses_is_refused() {
    let case = Case::new(GOOD);
    let state = case.path("state").display().to_string();
    let setup = WorkerSetup {
        config: GOOD.to_owned(),
        arguments: vec![format!("--stateFolder={state}")],
        ..WorkerSetup::default()
    };
    let mut first = Worker::start(setup).await.unwrap();
    let case = case.with(format!("--stateFolder={state}"));
    case.is_refused_with(&[&state, "another worker uses it"]).await;
    assert!(first.process_mut().ended().is_none());
}

#[tokio::test]
async fn a_shard_that_the_topology_does_not_have_is_refused() {
    let case = Case::new(GOOD);
    let topology = case.path("topology.yaml");
    std::fs::write(&topology, "shards: 3\n").unwrap();
    let topology = format!("--topology={}", topology.display());
    let case = case.with(topology).with("--shard=3");
    case.is_refused_with(&["shard 3", "3 shard(s)", "0 to 2"]).await;
}

#[tokio::test]
async fn several_shards_and_no_word_of_which_one_this_is_are_refused_with_the_ways_to_say_it() {
    let case = Case::new(GOOD);
    let mut command = Command::new(find(Program::Worker).unwrap());
    command.args(&case.arguments).env("VMANOMALY_MEMBERS_COUNT", "2");
    command.env_remove("POD_NAME").env("HOSTNAME", "laptop");
    let ended = run_command_to_end(command, SOON).await.unwrap();
    is_refusal(&ended, &["2 shards", "--shard", "VMANOMALY_MEMBER_NUM"]);
}

#[tokio::test]
async fn a_token_that_is_missing_or_empty_is_refused_by_key_and_path() {
    for (name, text, words) in [("missing", None, "No such file"), ("empty", Some("\n"), "is empty")] {
        let case = Case::new(GOOD);
        let (topology, token) = (case.path("topology.yaml"), case.path(name));
        let peers = format!("{{url: 'http://127.0.0.1:9', listen: '127.0.0.1:0', token_file: '{}'}}", token.display());
        std::fs::write(&topology, format!("peers: {peers}\n")).unwrap();
        if let Some(text) = text {
            std::fs::write(&token, text).unwrap();
        }
        let case = case.with(format!("--topology={}", topology.display()));
        case.is_refused_with(&["peers.token_file", &token.display().to_string(), words]).await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_refused_with_key_and_address() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let case = Case::changed("port: 0", &format!("port: {}", address.port()));
    case.is_refused_with(&["server.port", &address.to_string(), "in use"]).await;
}

#[tokio::test]
async fn a_file_of_authorities_that_is_missing_or_garbage_is_refused_by_key_and_path() {
    let garbage = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(garbage.path(), "no certificate").unwrap();
    for file in [Path::new("/no/such/ca.pem"), garbage.path()] {
        let file = file.display().to_string();
        let case = Case::changed("reader:\n", &format!("reader:\n  verify_tls: {file}\n"));
        case.is_refused_with(&["reader.verify_tls", &file]).await;
    }
}

#[tokio::test]
async fn a_dry_run_judges_the_configuration_and_starts_nothing() {
    let good = Case::new(GOOD);
    let state = good.path("state");
    let good = good.with("--dryRun").with(format!("--stateFolder={}", state.display()));
    let ended = good.run().await;
    assert!(ended.status.success() && ended.output.contains("configuration is valid"), "{}", ended.output);
    assert!(!ended.output.contains("Listening on"), "{}", ended.output);
    assert!(!state.exists());

    let several = Case::new(GOOD);
    let topology = several.path("topology.yaml");
    let peers = "{url: 'http://127.0.0.{rank}:9', token_file: /no/such/file}";
    std::fs::write(&topology, format!("ranks: 2\npeers: {peers}\n")).unwrap();
    let several = several.with("--dryRun").with(format!("--topology={}", topology.display()));
    let ended = several.with("--rank=2").run().await;
    let words =
        ["0 job(s) on shard 0 of 1, rank 2 of 2", "this worker is rank 2, but the topology has 2 rank(s) (0 to 1)"];
    assert!(ended.status.success() && words.iter().all(|words| ended.output.contains(words)), "{}", ended.output);

    let bad = Case::changed("z_threshold: 3", "z_threshold: 0").with("--dryRun");
    bad.is_refused_with(&["models.zscore.z_threshold", "0"]).await;
}

#[tokio::test]
async fn version_and_help_are_no_failures_and_an_unknown_flag_is_one() {
    let version = run_to_end(&["--version"], &[], SOON).await.unwrap();
    assert!(version.status.success());
    assert_eq!(version.output.trim(), format!("vmanomaly {}", env!("CARGO_PKG_VERSION")));
    let help = run_to_end(&["--help"], &[], SOON).await.unwrap();
    assert!(help.status.success() && help.output.contains("--stateFolder"), "{}", help.output);
    let unknown = run_to_end(&["--stateFolde=state"], &[], SOON).await.unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(unknown.output.contains("--stateFolder"), "{}", unknown.output);
}
