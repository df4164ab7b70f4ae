//! The checked-in reference is the generated one.

#[test]
fn the_checked_in_reference_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let found = std::fs::read_to_string(path).unwrap();
    assert!(
        found == config::reference::configuration_reference(),
        "docs/configuration.md is stale: cargo run -p config --example configuration_reference"
    );
}
