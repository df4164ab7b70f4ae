//! Configuration files and ConfigMap folders on a real file system.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and writes the files")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use worker::config_files::{ConfigFiles, LARGEST_FILE, Watcher, read};
use worker::environment::Clock;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn read_one(path: &Path) -> Result<ConfigFiles, String> {
    read(&[path.to_owned()]).map_err(|error| error.to_string())
}

fn texts(files: &ConfigFiles) -> Vec<&str> {
    files.sources.iter().map(|(_, text)| text.as_str()).collect()
}

#[test]
fn a_folder_gives_its_yaml_files_sorted_by_name_and_nothing_else() {
    let folder = folder(&[("b.yml", "b"), ("a.yaml", "a"), (".hidden.yaml", "x"), ("notes.txt", "x")]);
    fs::create_dir(folder.path().join("deeper.yaml")).unwrap();
    let files = read_one(folder.path()).unwrap();
    assert_eq!(texts(&files), ["a", "b"]);
    assert!(files.sources[0].0.ends_with("/a.yaml"), "named for messages: {}", files.sources[0].0);
}

#[test]
fn paths_are_read_in_the_order_given_and_a_named_file_needs_no_yaml_name() {
    let folder = folder(&[("z.conf", "z"), ("a.yaml", "a")]);
    let files = read(&[folder.path().join("z.conf"), folder.path().join("a.yaml")]).unwrap();
    assert_eq!(texts(&files), ["z", "a"]);
}

#[test]
fn a_gzip_file_reads_like_the_text_in_it_up_to_the_same_size() {
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let folder = folder(&[]);
    let [small, bomb, cut] = ["small.yaml", "bomb.yaml", "cut.yaml"].map(|name| folder.path().join(name));
    fs::write(&small, gzip(b"a: 1")).unwrap();
    fs::write(&bomb, gzip(&vec![b' '; usize::try_from(LARGEST_FILE).unwrap() + 1])).unwrap();
    fs::write(&cut, &gzip(b"a: 1")[..9]).unwrap();
    assert_eq!(texts(&read_one(&small).unwrap()), ["a: 1"]);
    assert!(read_one(&bomb).unwrap_err().contains("larger than 16 MiB"));
    assert!(read_one(&cut).unwrap_err().contains("cannot be decompressed"));
}

#[test]
fn every_refusal_names_the_path() {
    let folder = folder(&[("latin.yaml", ""), ("huge.yaml", "")]);
    let (latin, huge) = (folder.path().join("latin.yaml"), folder.path().join("huge.yaml"));
    fs::write(&latin, b"a: \xe4").unwrap();
    fs::File::create(&huge).unwrap().set_len(LARGEST_FILE + 1).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.yaml")).unwrap();
    for (path, hint) in [
        (latin, "not UTF-8: byte 3"),
        (huge, "larger than 16 MiB"),
        (folder.path().join("empty"), "no .yaml or .yml file"),
        (folder.path().join("none.yaml"), "no such file"),
        (folder.path().join("dangling.yaml"), "no such file"),
        (folder.path().join("latin.yaml/below"), "cannot be read"),
    ] {
        let message = read_one(&path).unwrap_err();
        assert!(message.starts_with(&path.display().to_string()) && message.contains(hint), "{message}");
    }
}

#[test]
fn the_digest_tells_apart_where_a_text_stands() {
    let one = folder(&[("a.yaml", "xy"), ("b.yaml", "")]);
    let before = read_one(one.path()).unwrap().digest;
    assert_eq!(read_one(one.path()).unwrap().digest, before);
    fs::write(one.path().join("a.yaml"), "x").unwrap();
    fs::write(one.path().join("b.yaml"), "y").unwrap();
    assert_ne!(read_one(one.path()).unwrap().digest, before);
}

type Step<'a> = Box<dyn FnOnce() + 'a>;

/// A clock that does one thing to the files in each sleep, and stops the test when nothing is left to do.
struct Script<'a> {
    steps: RefCell<VecDeque<Step<'a>>>,
    slept: RefCell<Vec<Duration>>,
}

impl<'a> Script<'a> {
    fn new(steps: Vec<Step<'a>>) -> Self {
        Self { steps: RefCell::new(steps.into()), slept: RefCell::default() }
    }
}

impl Clock for Script<'_> {
    fn now(&self) -> i64 {
        0
    }
    fn monotonic(&self) -> Duration {
        self.slept.borrow().iter().sum()
    }
    async fn sleep(&self, duration: Duration) {
        self.slept.borrow_mut().push(duration);
        let step = self.steps.borrow_mut().pop_front();
        match step {
            Some(step) => step(),
            None => std::future::pending().await,
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(30);

fn watch(path: PathBuf) -> Watcher {
    let current = read(std::slice::from_ref(&path)).unwrap();
    Watcher::new(vec![path], INTERVAL, &current)
}

/// Everything the watcher tells while the script lasts.
async fn told(watcher: &mut Watcher, script: &Script<'_>) -> Vec<Result<String, String>> {
    let mut told = Vec::new();
    loop {
        tokio::select! {
            biased;
            news = watcher.changed(script) => told.push(
                news.map(|files| texts(&files).concat()).map_err(|error| error.to_string()),
            ),
            () = std::future::ready(()) => return told,
        }
    }
}

fn nothing<'a>() -> Step<'a> {
    Box::new(|| {})
}

#[tokio::test]
async fn a_change_is_told_once_after_it_has_read_the_same_twice() {
    let folder = folder(&[("a.yaml", "1")]);
    let file = folder.path().join("a.yaml");
    let mut watcher = watch(file.clone());
    let half_written = || fs::write(&file, "2 hal").unwrap();
    let written = || fs::write(&file, "2 whole").unwrap();
    let script = Script::new(vec![nothing(), Box::new(half_written), Box::new(written), nothing(), nothing()]);
    assert_eq!(told(&mut watcher, &script).await, [Ok("2 whole".to_owned())]);
    let second = Duration::from_secs(1);
    assert_eq!(script.slept.borrow()[..4], [INTERVAL, INTERVAL, second, second]);
}

#[tokio::test]
async fn a_touched_or_restored_file_is_no_change() {
    let folder = folder(&[("a.yaml", "1")]);
    let file = folder.path().join("a.yaml");
    let mut watcher = watch(file.clone());
    let script = Script::new(vec![
        Box::new(|| fs::write(&file, "1").unwrap()),
        Box::new(|| fs::write(&file, "2").unwrap()),
        Box::new(|| fs::write(&file, "1").unwrap()),
        nothing(),
    ]);
    assert_eq!(told(&mut watcher, &script).await, []);
}

#[tokio::test]
async fn a_swapped_config_map_is_a_change_whether_given_as_file_or_folder() {
    for name in ["config.yaml", ""] {
        let folder = folder(&[]);
        let path = |name: &str| folder.path().join(name);
        for (generation, text) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(path(generation)).unwrap();
            fs::write(path(generation).join("config.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/config.yaml", path("config.yaml")).unwrap();
        let mut watcher = watch(path(name));
        let swap = || {
            std::os::unix::fs::symlink("..2", path("..data_tmp")).unwrap();
            fs::rename(path("..data_tmp"), path("..data")).unwrap();
        };
        let script = Script::new(vec![Box::new(swap), nothing(), nothing()]);
        assert_eq!(told(&mut watcher, &script).await, [Ok("new".to_owned())]);
    }
}

#[tokio::test]
async fn a_file_that_goes_away_is_told_once_until_it_was_back() {
    let folder = folder(&[("a.yaml", "1")]);
    let file = folder.path().join("a.yaml");
    let mut watcher = watch(file.clone());
    let remove = || fs::remove_file(&file).unwrap();
    let restore = || fs::write(&file, "1").unwrap();
    let script = Script::new(vec![
        Box::new(remove),
        nothing(),
        nothing(),
        nothing(),
        Box::new(restore),
        Box::new(remove),
        nothing(),
        nothing(),
    ]);
    let told = told(&mut watcher, &script).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|news| news.as_ref().unwrap_err().contains("a.yaml: no such file")), "{told:?}");
}
