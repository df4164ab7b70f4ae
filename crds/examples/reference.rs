//! Writes the generated pages of `docs/`: `objects.md` as a whole, the tables of `operations.md`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    std::fs::write(folder.join("objects.md"), crds::reference::objects()?)?;
    let operations = folder.join("operations.md");
    let page = std::fs::read_to_string(&operations)?;
    let renewed =
        crds::reference::operations(&page).ok_or("docs/operations.md does not mark the places of its tables")?;
    std::fs::write(operations, renewed)?;
    Ok(())
}
