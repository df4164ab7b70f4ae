//! The files of `crds/fixtures`, which are judged here and, by the real server, in `tests/tests/custom_resources`.

use std::path::Path;

use serde_json::Value;

/// A file: an object, or two, of which the second replaces the first.
pub struct Fixture {
    pub name: String,
    pub objects: Vec<Value>,
    /// Of a refused one the field and words of the message, from the first line: `# <field>: <words>`.
    pub refusal: Option<(String, String)>,
}

impl Fixture {
    pub fn all(folder: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/fixtures").join(folder);
        let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            let refusal = text.strip_prefix("# ").and_then(|text| text.lines().next()?.split_once(": "));
            Self {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                objects: serde_saphyr::from_multiple(&text).unwrap(),
                refusal: refusal.map(|(field, words)| (field.to_owned(), words.to_owned())),
            }
        };
        paths.iter().map(|path| read(path)).collect()
    }

    pub fn kind(&self) -> &str {
        self.objects[0]["kind"].as_str().unwrap()
    }
}

/// To the server a null is no field.
pub fn drop_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, inner| !inner.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}
