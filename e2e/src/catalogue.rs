//! The images that this repository makes: what is in each, under which name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::image::{Image, ImageError, Layer, USER};
use crate::node::programs;

/// Where the images of a cluster without a registry say they are from.
pub const LOCAL_REGISTRY: &str = "docker.io/library";

/// The tag of images that are built here, unless told otherwise.
pub const TAG: &str = env!("CARGO_PKG_VERSION");

/// Programs of `make tools` that the stories run as pods, by the name that is also their image's.
pub const TOOLS: [&str; 4] = ["victoria-metrics", "vmagent", "vmalert", "prometheus-node-exporter"];

/// An image of ours, built from the program of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// The worker.
    Worker,
    /// The operator.
    Operator,
}

impl Product {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Worker, Self::Operator];

    /// The image's repository, which is the program's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "vmanomaly",
            Self::Operator => "vmanomaly-operator",
        }
    }

    /// The folder of its crate, which is also its target in the Dockerfile.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Operator => "operator",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Worker => "Scores every series of a query in a time series database",
            Self::Operator => "Turns VMAnomaly, AnomalyModel and AnomalyQuery objects into workers",
        }
    }

    /// Whether cargo has built its program.
    #[must_use]
    pub fn is_built(self, binaries: &Path) -> bool {
        binaries.join(self.name()).is_file()
    }

    /// The image, from the program in the folder `binaries`, as `registry/name:tag`.
    ///
    /// # Errors
    /// When the program or the base is not there.
    pub fn image(self, binaries: &Path, registry: &str, tag: &str) -> Result<Image, ImageError> {
        let program = binaries.join(self.name());
        if !program.is_file() {
            return Err(ImageError::NotBuilt {
                path: program.display().to_string(),
                command: "cargo build --workspace --bins",
            });
        }
        with_program(self.name(), &program, self.description(), format!("{registry}/{}:{tag}", self.name()), tag)
    }
}

/// The image of one of [`TOOLS`].
///
/// # Errors
/// When the program or the base is not there.
pub fn tool(name: &str) -> Result<Image, ImageError> {
    let program = programs::find(name)?;
    with_program(name, &program, "For tests and demonstrations", tool_name(name), "node")
}

/// The full name of the image of one of [`TOOLS`].
#[must_use]
pub fn tool_name(name: &str) -> String {
    format!("{LOCAL_REGISTRY}/{name}:node")
}

/// An image with a shell: what holds the namespaces of pods on our node, and what looks around in tests.
///
/// # Errors
/// When the program is not there.
pub fn busybox() -> Result<Image, ImageError> {
    let program = programs::find("busybox")?;
    let mut layer = Layer::default();
    layer.program("bin/busybox", &program)?;
    for applet in ["cat", "env", "id", "ls", "nslookup", "sh", "sleep", "touch", "wget"] {
        layer.link(Path::new("bin").join(applet), "busybox");
    }
    accounts(&mut layer);
    Ok(Image {
        name: format!("{LOCAL_REGISTRY}/busybox:node"),
        layers: vec![layer],
        entrypoint: vec!["/bin/busybox".to_owned(), "sleep".to_owned(), "infinity".to_owned()],
        user: USER,
        labels: labels("busybox", "For tests and demonstrations", "node"),
    })
}

fn with_program(
    name: &str,
    program: &Path,
    description: &str,
    image: String,
    version: &str,
) -> Result<Image, ImageError> {
    let path = format!("usr/local/bin/{name}");
    let mut layer = Layer::default();
    layer.program(&path, program)?;
    Ok(Image {
        name: image,
        layers: vec![base(&programs::tools().join("layer"))?, layer],
        entrypoint: vec![format!("/{path}")],
        user: USER,
        labels: labels(name, description, version),
    })
}

fn labels(name: &str, description: &str, version: &str) -> BTreeMap<String, String> {
    let labels = [("title", name), ("description", description), ("version", version), ("licenses", "Apache-2.0")];
    let labels = labels.map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()));
    labels.into_iter().collect()
}

/// What a dynamically linked program needs, from unpacked Debian packages: the C library, certificates of authorities,
/// the account `nonroot`.
fn base(unpacked: &Path) -> Result<Layer, ImageError> {
    if !unpacked.is_dir() {
        return Err(ImageError::Base { path: unpacked.display().to_string() });
    }
    let mut layer = Layer::default();
    layer.tree(unpacked, &placed)?;
    layer.link("lib", "usr/lib");
    layer.folder("usr/lib64", 0o755, 0);
    layer.link("lib64", "usr/lib64");
    layer.file("etc/ssl/certs/ca-certificates.crt", certificates(unpacked)?, 0o644);
    accounts(&mut layer);
    Ok(layer)
}

/// Shared libraries and licences, in a file system whose /lib is /usr/lib, as all current Debian ones.
fn placed(path: &Path) -> Option<PathBuf> {
    let placed = if path.starts_with("lib") || path.starts_with("lib64") {
        Path::new("usr").join(path)
    } else {
        path.to_path_buf()
    };
    let library = placed.starts_with("usr/lib") || placed.starts_with("usr/lib64");
    let shared = placed.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"));
    // gconv and audit: plug-ins that no program here loads.
    let plug_in = placed.components().any(|part| ["gconv", "audit"].iter().any(|name| part.as_os_str() == *name));
    let licence = placed.starts_with("usr/share/doc") && placed.ends_with("copyright");
    ((library && shared && !plug_in) || licence).then_some(placed)
}

/// All authorities in one file, in the order of their names.
fn certificates(unpacked: &Path) -> Result<Vec<u8>, ImageError> {
    let folder = unpacked.join("usr/share/ca-certificates/mozilla");
    let failed = |source| ImageError::File { path: folder.display().to_string(), source };
    let entries = fs::read_dir(&folder).map_err(failed)?;
    let mut files =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    files.sort();
    let contents = files.iter().map(fs::read).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    Ok(contents.concat())
}

fn accounts(layer: &mut Layer) {
    let passwd =
        format!("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/home/nonroot:/sbin/nologin\n");
    layer.file("etc/passwd", passwd, 0o644);
    layer.file("etc/group", format!("root:x:0:\nnonroot:x:{USER}:\n"), 0o644);
    layer.file("etc/nsswitch.conf", "hosts: files dns\n", 0o644);
    layer.folder("home/nonroot", 0o700, USER);
    layer.folder("tmp", 0o1777, 0);
}

/// The folder for archives: `target/images`.
#[must_use]
pub fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("images");
    // Without the way through this crate's own folder.
    std::path::absolute(&folder).map_or(folder, |path| path.components().fold(PathBuf::new(), without_parent))
}

fn without_parent(mut path: PathBuf, part: std::path::Component<'_>) -> PathBuf {
    match part {
        std::path::Component::ParentDir => drop(path.pop()),
        part => path.push(part),
    }
    path
}

/// Writes an image below [`folder`], under the last part of its name; brings where it is, and its digest.
///
/// # Errors
/// When it cannot be written.
pub fn write(image: &Image) -> Result<(PathBuf, String), ImageError> {
    let name = image.name.rsplit('/').next().unwrap_or(&image.name);
    let name = name.split(':').next().unwrap_or(name);
    let path = folder().join(format!("{name}.tar"));
    let digest = image.write(&path)?;
    Ok((path, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_lie_below_usr_and_what_no_program_loads_is_left_out() {
        let placed = |path: &str| placed(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(placed("lib/x86_64-linux-gnu/libc.so.6").as_deref(), Some("usr/lib/x86_64-linux-gnu/libc.so.6"));
        assert_eq!(placed("lib64/ld-linux-x86-64.so.2").as_deref(), Some("usr/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(placed("usr/share/doc/libc6/copyright").as_deref(), Some("usr/share/doc/libc6/copyright"));
        assert_eq!(placed("usr/lib/x86_64-linux-gnu/gconv/UTF-7.so"), None);
        assert_eq!(placed("etc/ca-certificates/update.d/x"), None);
    }
}
