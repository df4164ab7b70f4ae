//! What the documentation says is there: its links lead somewhere, and its objects are what the operator takes.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use operator::build::WorkerDefaults;
use operator::render::{Input, render};
use tests::components::repository;

/// The README and every page of `docs/`.
fn pages() -> Vec<PathBuf> {
    let folder = repository().join("docs").read_dir().unwrap();
    let docs = folder.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "md"));
    docs.chain([repository().join("README.md")]).collect()
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// The targets of a page's links.
fn links(page: &str) -> Vec<String> {
    // Patterns in inline code look like links.
    let prose: String = prose(page).split('`').step_by(2).collect();
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(ToOwned::to_owned).collect()
}

/// The names under which a page's headings can be linked to.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let letters = |letter: char| match letter {
        ' ' => Some('-'),
        letter if letter.is_alphanumeric() || matches!(letter, '-' | '_') => Some(letter),
        _ => None,
    };
    headings.map(|heading| heading.chars().filter_map(letters).collect::<String>().to_lowercase()).collect()
}

#[test]
fn every_link_of_the_documentation_leads_to_a_file_and_a_heading_of_it() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for link in links(&page).into_iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let leads = target.exists()
                && (anchor.is_empty() || anchors(&std::fs::read_to_string(&target).unwrap()).contains(anchor));
            if !leads {
                broken.push(format!("{}: {link}", path.display()));
            }
            checked += 1;
        }
    }
    assert!(broken.is_empty() && checked > 50, "of {checked} links: {broken:#?}");
}

#[test]
fn the_objects_of_the_reference_and_of_the_quickstart_make_valid_configurations_together() {
    let page = std::fs::read_to_string(repository().join("docs/objects.md")).unwrap();
    let blocks: Vec<_> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let folder = tempfile::tempdir().unwrap();
    let examples = folder.path().join("examples.yaml");
    std::fs::write(&examples, blocks.join("---\n")).unwrap();
    let rendered = |path: &Path| {
        let input = Input::read(&[path.to_owned()], "team").unwrap();
        render(&input, &WorkerDefaults::default(), None).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    assert_eq!(rendered(&examples).matches("kind: StatefulSet").count(), 3);
    assert_eq!(rendered(&repository().join("deploy/quickstart")).matches("kind: StatefulSet").count(), 1);
}

#[test]
fn the_table_of_the_rules_between_workers_has_each_rule_of_the_code_once() {
    let page = std::fs::read_to_string(repository().join("docs/reliability.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains("<!-- "));
    let named: Vec<&str> = rows.filter_map(|row| row.split("<!-- ").nth(1)?.split(" -->").next()).collect();
    let rules: Vec<String> = worker::peers::Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect();
    assert_eq!(named, rules);
}
