//! The reference of all keys, `docs/configuration.md`, from their declaration.

use std::fmt::Write;

use crate::class::{self, Class, ClassSupport};
use crate::load;
use crate::schema::{Key, Presence, Section, Support};
use crate::section::{client, model, policy, reader, scheduler, service, writer};
use crate::topology;

/// The whole page, in Markdown.
#[must_use]
pub fn configuration_reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    heading(&mut page, "Sections");
    section(&mut page, &load::ROOT);
    section(&mut page, &scheduler::SECTION);
    classes(&mut page, class::SCHEDULERS);
    section(&mut page, &model::SECTION);
    for class in model::CLASSES {
        section(&mut page, &class.section);
    }
    for shared in model::INNER.iter().chain(model::SHARED) {
        section(&mut page, shared);
    }
    classes(&mut page, class::MODELS);
    section(&mut page, &reader::SECTION);
    classes(&mut page, class::READERS);
    section(&mut page, &reader::QUERY);
    section(&mut page, &policy::SECTION);
    section(&mut page, &writer::SECTION);
    classes(&mut page, class::WRITERS);
    section(&mut page, &client::SECTION);
    section(&mut page, &service::MONITORING);
    section(&mut page, &service::PULL);
    section(&mut page, &service::SERVER);
    section(&mut page, &service::SETTINGS);
    section(&mut page, &service::RETENTION);
    page.push_str(TOPOLOGY);
    section(&mut page, &topology::SECTION);
    section(&mut page, &topology::PLACEMENT);
    section(&mut page, &topology::PEERS);
    page
}

const INTRODUCTION: &str = include_str!("reference_introduction.md");
const TOPOLOGY: &str = include_str!("reference_topology.md");

fn heading(page: &mut String, title: &str) {
    page.push_str(&format!("\n## {title}\n"));
}

fn section(page: &mut String, section: &Section) {
    let _ = write!(page, "\n### {}\n\n{}\n", section.title, section.about);
    if section.keys.is_empty() {
        return;
    }
    page.push_str("\n| Key | Type | Default | Allowed | Meaning | vmanomaly |\n");
    page.push_str("|---|---|---|---|---|---|\n");
    let mut others = String::new();
    for key in section.keys {
        match key.support {
            Support::Full => row(page, key),
            Support::Ignored(reason) => {
                let _ = writeln!(others, "- `{}` is accepted with a warning: {reason}.", key.name);
            }
            Support::Refused(reason) => {
                let _ = writeln!(others, "- `{}` is refused: not supported yet: {reason}.", key.name);
            }
        }
    }
    if !others.is_empty() {
        let _ = write!(page, "\nKeys of vmanomaly without effect:\n\n{others}");
    }
}

fn row(page: &mut String, key: &Key) {
    let default = match key.presence {
        Presence::Required => "**required**".to_owned(),
        Presence::Default(text) => format!("`{text}`"),
        Presence::Absent(words) => words.to_owned(),
    };
    let cells = [
        format!("`{}`", key.name),
        key.kind.type_name().to_owned(),
        default,
        key.kind.allowed(),
        key.about.to_owned(),
        if key.in_vmanomaly { "yes" } else { "no" }.to_owned(),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn classes(page: &mut String, classes: &[Class]) {
    let names = |wanted: fn(&ClassSupport) -> bool| {
        let chosen = classes.iter().filter(|class| wanted(&class.support));
        let names = chosen.filter_map(|class| class.names.first());
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let full = names(|support| matches!(support, ClassSupport::Full));
    let old = names(|support| matches!(support, ClassSupport::As(_)));
    let not_yet = names(|support| matches!(support, ClassSupport::NotYet));
    let _ = write!(page, "\nClasses: {full}.");
    if !old.is_empty() {
        let _ = write!(page, " Deprecated names: {old}.");
    }
    if !not_yet.is_empty() {
        let _ = write!(page, " Refused, because not supported yet: {not_yet}.");
    }
    page.push('\n');
}
