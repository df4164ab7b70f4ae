//! Writes `docs/configuration.md`, or the file that is named.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let path = std::env::args().nth(1).map_or_else(|| PathBuf::from(default), PathBuf::from);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, config::reference::configuration_reference())
}
