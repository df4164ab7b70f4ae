//! What the outside and the inside of a node say to each other, a JSON object a line, over one socket.
//!
//! The inside ends when the socket does: whatever happens to the process that started a node, the node goes with it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::programs::Programs;

/// What the inside needs to know, given to it as its argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The node's folder on the host: kubeconfig, logs, archives to import. Removed with the node.
    pub folder: PathBuf,
    /// The cgroup of all pods, relative to the hierarchy's root. Removed with the node.
    pub cgroup: String,
    /// The port of the host's loopback on which the API server answers.
    pub port: u16,
    /// The programs.
    pub programs: Programs,
    /// Archives of images that are imported while the node starts.
    pub images: Vec<PathBuf>,
}

impl Settings {
    /// The kubeconfig of the administrator, usable on the host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The log of a component.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.folder.join("log").join(format!("{component}.log"))
    }
}

/// From inside to outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A part of the node works.
    Step(Step),
    /// Everything works.
    Ready,
    /// The node cannot start, or a component of it ended: it goes away.
    Failed(String),
    /// The answer to [`Request::Import`]: why not, if not.
    Imported {
        /// The archive that was asked for.
        archive: PathBuf,
        /// What went wrong.
        error: Option<String>,
    },
}

/// A part of a node that works now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The part: `kube-apiserver`.
    pub name: String,
    /// What there is to say about it.
    pub detail: String,
    /// Seconds since the start.
    pub seconds: f64,
}

/// From outside to inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make the images of an archive in the node's folder usable by pods.
    Import {
        /// The archive.
        archive: PathBuf,
    },
}
