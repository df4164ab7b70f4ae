//! Models against the libraries that users compare with: prophet, statsmodels, scikit-learn, pandas, crick.
//!
//! A file holds what such a library gave for a series; how far an implementation may be from it is said where it is checked.
//! `data` has some of the files; `GOLDEN_DIR=<folder> cargo test --release -p detect --test golden -- --nocapture` checks a whole
//! folder of the same form: `series/<name>.json` with the inputs, and a folder for each kind of reference.
//!
//! The reference of `calibrated` and `calibrated_multivariate`, which no library has, is `tests/reference/calibrated.py`; its inputs are made, not stored. What it
//! gives for labelled series is checked too where `CALIBRATED_DIR=<folder>` names it, and `CALIBRATED_ORIGINAL_DIR=<folder>` that of
//! the original recipe. `calibrated_often` is the class asked for 2 alarms by chance a day.

mod calibrated;
mod calibrated_multivariate;
mod compare;
mod decompose;
mod holtwinters;
mod iforest;
mod prophet;
mod stats;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// A kind of reference: its folder, and what checks a file.
const KINDS: [(&str, Check); 9] = [
    ("calibrated", calibrated::check),
    ("calibrated_multivariate", calibrated_multivariate::check),
    ("calibrated_often", calibrated::check),
    ("calibrated_original", calibrated::check_original),
    ("decompose", decompose::check),
    ("holtwinters", holtwinters::check),
    ("iforest", iforest::check),
    ("prophet", prophet::check),
    ("stats", stats::check),
];

type Check = fn(&Golden, &Value) -> Vec<Finding>;

/// What checks the findings of all files of a kind together.
const OVER_ALL_FILES: [(&str, CheckAll); 2] = [("iforest", iforest::check_all), ("prophet", prophet::check_all)];

type CheckAll = fn(&[Vec<Finding>]) -> Vec<Finding>;

/// A folder of references.
struct Golden {
    folder: PathBuf,
}

/// The input of references.
struct Series {
    /// ms.
    fit_times: Vec<i64>,
    fit_values: Vec<f64>,
    infer_times: Vec<i64>,
    infer_values: Vec<f64>,
}

/// How far something is from its reference.
struct Finding {
    /// What was compared.
    what: String,
    deviation: f64,
    tolerance: f64,
}

impl Finding {
    fn new(what: &str, deviation: f64, tolerance: f64) -> Self {
        Self { what: what.to_owned(), deviation, tolerance }
    }

    /// Also true of a deviation that is NaN.
    fn fails(&self) -> bool {
        self.deviation.is_nan() || self.deviation > self.tolerance
    }

    /// Of the same, in another series: becomes it if it is further off.
    fn take_worse(&mut self, other: Self) {
        if other.deviation.is_nan() || other.deviation > self.deviation {
            *self = other;
        }
    }

    /// By how much of what is allowed.
    fn share(&self) -> f64 {
        if self.deviation == 0.0 { 0.0 } else { self.deviation / self.tolerance }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.fails() { "FAILED" } else { "ok" };
        write!(formatter, "{verdict} {} {:.2e} of {:.2e}", self.what, self.deviation, self.tolerance)
    }
}

impl Golden {
    fn read(path: &Path) -> Value {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The input called `name`.
    fn series(&self, name: &str) -> Series {
        let value = Self::read(&self.folder.join("series").join(format!("{name}.json")));
        let times = |part: &str| numbers(&value[part]["t"]).into_iter().map(|second| (second * 1e3) as i64).collect();
        Series {
            fit_times: times("fit"),
            fit_values: numbers(&value["fit"]["y"]),
            infer_times: times("infer"),
            infer_values: numbers(&value["infer"]["y"]),
        }
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let Ok(folder) = std::fs::read_dir(self.folder.join(kind)) else { return Vec::new() };
        let mut files: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        files
    }

    /// Checks every file, and all of a kind together, and prints a line for each. Returns how many files there are, and how many
    /// checks fail.
    fn check(&self) -> (usize, usize) {
        let (mut checked, mut failed) = (0, 0);
        for (kind, check) in KINDS {
            let mut all = Vec::new();
            for path in self.files(kind) {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let findings = check(self, &Self::read(&path));
                checked += 1;
                failed += usize::from(report(kind, &name, &findings));
                all.push(findings);
            }
            let over_all = OVER_ALL_FILES.iter().filter(|(of, _)| *of == kind && !all.is_empty());
            for (_, check_all) in over_all {
                failed += usize::from(report(kind, "all files", &check_all(&all)));
            }
        }
        (checked, failed)
    }
}

/// Prints the worst of the findings, and those that fail. Returns whether any does, or there is none.
fn report(kind: &str, name: &str, findings: &[Finding]) -> bool {
    let worst = findings.iter().max_by(|one, other| one.share().total_cmp(&other.share()));
    println!("{kind} {name}: {}", worst.map_or("FAILED nothing compared".into(), Finding::to_string));
    for finding in findings.iter().filter(|finding| finding.fails()) {
        println!("    {finding}");
    }
    findings.iter().any(Finding::fails) || findings.is_empty()
}

/// The middle of the values; NaN if there are none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

/// A list of numbers; NaN where the reference has none.
fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap_or_else(|| panic!("no list: {value}"));
    list.iter().map(|item| item.as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn models_give_what_the_references_give() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data");
    let folder = std::env::var_os("GOLDEN_DIR").map_or(shipped, PathBuf::from);
    let (checked, failed) = Golden { folder }.check();
    println!("golden: {checked} files, {failed} failed");
    assert!(checked > 0, "no file was found");
    assert_eq!(failed, 0);
}
