//! Container images without a container tool: layers from files, written as an archive that every tool reads.
//!
//! The archive is an [OCI image layout](https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md) with
//! the `manifest.json` of `docker save` beside it. Equal files give equal bytes: no times, no owners of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The user of all our images: `nonroot` of the distroless ones.
pub const USER: u32 = 65532;

/// Why an image could not be made.
#[derive(thiserror::Error)]
pub enum ImageError {
    /// A file that belongs into it, or the archive itself.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What failed.
        source: io::Error,
    },
    /// The base of the images is not there.
    #[error("{path} is not there: run `make tools`")]
    Base {
        /// Where it should be.
        path: String,
    },
    /// A program of ours is not built.
    #[error("{path} is not there: run `{command}`")]
    NotBuilt {
        /// Where cargo puts it.
        path: String,
        /// What builds it.
        command: &'static str,
    },
    /// A program of `make tools`.
    #[error(transparent)]
    Program(#[from] crate::node::programs::ProgramError),
}

impl std::fmt::Debug for ImageError {
    /// As its message: `unwrap` in a test then prints what to do.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    move |source| ImageError::File { path: path.display().to_string(), source }
}

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder { mode: u32, owner: u32 },
    File { content: Vec<u8>, mode: u32 },
    Link { target: PathBuf },
}

/// Files of an image, by their path without the leading slash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer(BTreeMap<PathBuf, Entry>);

impl Layer {
    /// Adds a folder, and those above it for everybody.
    pub fn folder(&mut self, path: impl AsRef<Path>, mode: u32, owner: u32) {
        self.parents(path.as_ref());
        self.0.insert(path.as_ref().to_path_buf(), Entry::Folder { mode, owner });
    }

    /// Adds a file of root's, and the folders above it.
    pub fn file(&mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>, mode: u32) {
        self.parents(path.as_ref());
        self.0.insert(path.as_ref().to_path_buf(), Entry::File { content: content.into(), mode });
    }

    /// Adds a symbolic link, and the folders above it.
    pub fn link(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>) {
        self.parents(path.as_ref());
        self.0.insert(path.as_ref().to_path_buf(), Entry::Link { target: target.as_ref().to_path_buf() });
    }

    /// Adds a program of this machine.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn program(&mut self, path: impl AsRef<Path>, source: &Path) -> Result<(), ImageError> {
        self.file(path, fs::read(source).map_err(failed(source))?, 0o755);
        Ok(())
    }

    /// Adds everything below `source`, each under the path that `place` gives to its relative one, or not at all.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn tree(&mut self, source: &Path, place: &impl Fn(&Path) -> Option<PathBuf>) -> Result<(), ImageError> {
        self.below(source, Path::new(""), place)
    }

    fn below(
        &mut self,
        root: &Path,
        relative: &Path,
        place: &impl Fn(&Path) -> Option<PathBuf>,
    ) -> Result<(), ImageError> {
        let folder = root.join(relative);
        for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
            let entry = entry.map_err(failed(&folder))?;
            let (path, relative) = (entry.path(), relative.join(entry.file_name()));
            let kind = entry.file_type().map_err(failed(&path))?;
            if kind.is_dir() {
                self.below(root, &relative, place)?;
                continue;
            }
            let Some(placed) = place(&relative) else { continue };
            if kind.is_symlink() {
                self.link(placed, fs::read_link(&path).map_err(failed(&path))?);
            } else {
                let mode = entry.metadata().map_err(failed(&path))?.permissions().mode() & 0o755;
                self.file(placed, fs::read(&path).map_err(failed(&path))?, mode);
            }
        }
        Ok(())
    }

    fn parents(&mut self, path: &Path) {
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            self.0.entry(folder.to_path_buf()).or_insert(Entry::Folder { mode: 0o755, owner: 0 });
        }
    }

    /// As an uncompressed tar: what an image calls a layer.
    fn archive(&self) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            match entry {
                Entry::Folder { mode, owner } => {
                    owned(&mut header, *mode, *owner);
                    header.set_entry_type(tar::EntryType::Directory);
                    archive.append_data(&mut header, path, io::empty())?;
                }
                Entry::File { content, mode } => {
                    owned(&mut header, *mode, 0);
                    append(&mut archive, header, path, content)?;
                }
                Entry::Link { target } => {
                    owned(&mut header, 0o777, 0);
                    header.set_entry_type(tar::EntryType::Symlink);
                    archive.append_link(&mut header, path, target)?;
                }
            }
        }
        archive.into_inner()
    }
}

fn owned(header: &mut tar::Header, mode: u32, owner: u32) {
    header.set_mode(mode);
    header.set_uid(owner.into());
    header.set_gid(owner.into());
    header.set_size(0);
}

fn append<W: io::Write>(
    archive: &mut tar::Builder<W>,
    mut header: tar::Header,
    path: impl AsRef<Path>,
    content: &[u8],
) -> io::Result<()> {
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content)
}

/// An image: layers, and how its program is started.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its full name: `docker.io/library/vmanomaly:0.1.0`.
    pub name: String,
    /// Its files, lowest layer first.
    pub layers: Vec<Layer>,
    /// The program with its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Who runs it.
    pub user: u32,
    /// What is said about it, under the keys of the OCI annotations.
    pub labels: BTreeMap<String, String>,
}

/// The processor architecture as images call it.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Image {
    /// Writes the archive, replacing an older one at once. Brings the digest of its manifest, which is the image's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<String, ImageError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed(folder))?;
        let digest = self.archive(io::BufWriter::new(&mut file)).map_err(failed(path))?;
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).map_err(failed(path))?;
        file.persist(path).map_err(|error| failed(path)(error.error))?;
        Ok(digest)
    }

    fn archive(&self, output: impl io::Write) -> io::Result<String> {
        let mut archive = tar::Builder::new(output);
        let mut layers = Vec::new();
        for layer in &self.layers {
            layers.push(Blob::new("application/vnd.oci.image.layer.v1.tar", layer.archive()?));
        }
        let entries: Vec<_> = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": format!("{0}:{0}", self.user),
                "Entrypoint": self.entrypoint,
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            // A layer that is not compressed has one digest for both purposes.
            "rootfs": {"type": "layers", "diff_ids": entries},
        });
        let config = Blob::json("application/vnd.oci.image.config.v1+json", &config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let manifest = Blob::json("application/vnd.oci.image.manifest.v1+json", &manifest);
        let mut entry = manifest.descriptor();
        entry["annotations"] = json!({
            // The one is read by containerd, the other by everything else.
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        let docker = json!([{
            "Config": config.path(),
            "RepoTags": [self.name],
            "Layers": layers.iter().map(Blob::path).collect::<Vec<_>>(),
        }]);

        let mut put = |path: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            owned(&mut header, 0o644, 0);
            append(&mut archive, header, path, content)
        };
        put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put("index.json", index.to_string().as_bytes())?;
        put("manifest.json", docker.to_string().as_bytes())?;
        for blob in layers.iter().chain([&config, &manifest]) {
            put(&blob.path(), &blob.content)?;
        }
        archive.finish()?;
        Ok(manifest.digest)
    }
}

/// Content with its digest.
struct Blob {
    kind: &'static str,
    content: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(kind: &'static str, content: Vec<u8>) -> Self {
        let hash = Sha256::digest(&content);
        let digest = hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { kind, content, digest: format!("sha256:{digest}") }
    }

    fn json(kind: &'static str, value: &Value) -> Self {
        Self::new(kind, value.to_string().into_bytes())
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.kind, "digest": self.digest, "size": self.content.len()})
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn image(content: &str) -> Image {
        let mut layer = Layer::default();
        layer.file("usr/local/bin/program", content, 0o755);
        layer.link("lib", "usr/lib");
        layer.folder("tmp", 0o1777, 0);
        Image {
            name: "docker.io/library/program:1".to_owned(),
            layers: vec![layer],
            entrypoint: vec!["/usr/local/bin/program".to_owned()],
            user: USER,
            labels: BTreeMap::new(),
        }
    }

    fn contents(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, content)
        });
        entries.collect()
    }

    #[test]
    fn equal_files_give_equal_bytes_and_other_files_another_digest() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
        let digest = image("a").write(&one).unwrap();
        assert_eq!(image("a").write(&two).unwrap(), digest);
        assert_eq!(fs::read(one).unwrap(), fs::read(&two).unwrap());
        assert_ne!(image("b").write(&two).unwrap(), digest);
    }

    #[test]
    fn every_descriptor_names_a_blob_with_that_digest_and_size() {
        let mut archive = Vec::new();
        let digest = image("a").archive(&mut archive).unwrap();
        let contents = contents(&archive);
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let content = &contents[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(content.len() as u64, descriptor["size"].as_u64().unwrap());
            let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(format!("sha256:{hash}"), digest);
            content
        };
        let index: Value = serde_json::from_slice(&contents["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["digest"], digest.as_str());
        let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = self::contents(blob(&manifest["layers"][0]));
        assert_eq!(layer["usr/local/bin/program"], b"a");
        assert!(layer.contains_key("usr/local"), "the folders above a file are entries: {:?}", layer.keys());
    }
}
