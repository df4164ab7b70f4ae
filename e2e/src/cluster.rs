//! The cluster that a story runs in: a node of our own, or the one that the user names with `CLUSTER`.

use std::env;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::catalogue;
use crate::forward::{Forward, ForwardError, Target};
use crate::image::{Image, ImageError};
use crate::node::programs::{self, ProgramError};
use crate::node::protocol::Step;
use crate::node::{Node, NodeError};

/// Why a cluster cannot be used, or did not do what was asked.
#[derive(thiserror::Error)]
pub enum ClusterError {
    /// No node of our own.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// An image cannot be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A program is not there.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The kubeconfig or its context.
    #[error("cluster {context}: {source}")]
    Kubeconfig {
        /// The context.
        context: String,
        /// What failed.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A user's cluster that cannot get at images from here.
    #[error(
        "cluster {context} cannot get images from this machine: push them with `make images REGISTRY=<registry>` and set the same REGISTRY here"
    )]
    Registry {
        /// The context.
        context: String,
    },
    /// The API server refused.
    #[error("API server: {0}")]
    Api(#[from] kube::Error),
    /// A port could not be forwarded.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A program failed.
    #[error("`{command}`: {message}")]
    Command {
        /// The command.
        command: String,
        /// Its own words.
        message: String,
    },
}

impl std::fmt::Debug for ClusterError {
    /// As its message: `unwrap` in a test then prints what to do.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

/// A cluster with our images.
#[derive(Debug)]
pub struct Cluster {
    node: Option<Node>,
    /// The kubeconfig's file and context, for `kubectl`; of the user's when there is no file.
    kubeconfig: Option<PathBuf>,
    context: String,
    config: Config,
    registry: Option<String>,
}

impl Cluster {
    /// A node of our own, or with `CLUSTER=<kubeconfig context>` that cluster; `images` can be used in it afterwards.
    ///
    /// The images of a kind cluster are loaded into it; any other one takes them from `REGISTRY`.
    ///
    /// # Errors
    /// In one sentence when neither can be had.
    pub async fn start(images: &[Image], progress: impl FnMut(&Step)) -> Result<Self, ClusterError> {
        let named = |variable| env::var(variable).ok().filter(|value| !value.is_empty());
        match named("CLUSTER") {
            None => Self::own(images, progress).await,
            Some(context) => Self::named(None, &context, named("REGISTRY"), images).await,
        }
    }

    /// A node of our own.
    ///
    /// # Errors
    /// In one sentence when this machine cannot have one.
    pub async fn own(images: &[Image], progress: impl FnMut(&Step)) -> Result<Self, ClusterError> {
        let archives =
            images.iter().map(|image| Ok(catalogue::write(image)?.0)).collect::<Result<Vec<_>, ImageError>>()?;
        let node = Node::start(&archives, progress).await?;
        let kubeconfig = node.kubeconfig();
        let config = configuration(Some(&kubeconfig), "node").await?;
        Ok(Self { node: Some(node), kubeconfig: Some(kubeconfig), context: "node".to_owned(), config, registry: None })
    }

    /// A cluster of the user's: a context of `kubeconfig`, or of the user's own one, that gets images from `registry`,
    /// or of a kind cluster on this machine.
    ///
    /// # Errors
    /// When there is no such context, or no way for images into that cluster.
    pub async fn named(
        kubeconfig: Option<&Path>,
        context: &str,
        registry: Option<String>,
        images: &[Image],
    ) -> Result<Self, ClusterError> {
        let config = configuration(kubeconfig, context).await?;
        match (&registry, context.strip_prefix("kind-")) {
            (Some(_), _) => {}
            (None, Some(name)) => {
                for image in images {
                    load(&catalogue::write(image)?.0, name).await?;
                }
            }
            (None, None) => return Err(ClusterError::Registry { context: context.to_owned() }),
        }
        let kubeconfig = kubeconfig.map(Path::to_path_buf);
        Ok(Self { node: None, kubeconfig, context: context.to_owned(), config, registry })
    }

    /// Our own node, if it is one.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The name under which pods of this cluster get one of the images that it was started with.
    #[must_use]
    pub fn image(&self, image: &Image) -> String {
        let last = image.name.rsplit('/').next().unwrap_or(&image.name);
        self.registry.as_ref().map_or_else(|| image.name.clone(), |registry| format!("{registry}/{last}"))
    }

    /// A new client. It belongs to the runtime that it is made in.
    ///
    /// # Errors
    /// When the kubeconfig's certificates cannot be used.
    pub fn client(&self) -> Result<Client, ClusterError> {
        Ok(Client::try_from(self.config.clone())?)
    }

    /// Runs kubectl against this cluster; brings what it prints.
    ///
    /// # Errors
    /// When kubectl is not there or fails, with its own words.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        let command = self.pointed_here("kubectl", "--context", arguments)?;
        output(command, &format!("kubectl {}", arguments.join(" "))).await
    }

    /// Applies manifests, server-side; `namespace` is that of objects that name none.
    ///
    /// # Errors
    /// When kubectl is not there or an object is refused, with the server's words.
    pub async fn apply(&self, namespace: &str, manifests: &str) -> Result<(), ClusterError> {
        let arguments = ["apply", "--server-side", "--namespace", namespace, "--filename", "-"];
        let failed = |error: std::io::Error| ClusterError::Command {
            command: "kubectl apply".to_owned(),
            message: error.to_string(),
        };
        let mut input = tempfile::tempfile().map_err(failed)?;
        input.write_all(manifests.as_bytes()).and_then(|()| input.rewind()).map_err(failed)?;
        let command = self.pointed_here("kubectl", "--context", &arguments)?;
        output_of(command, Stdio::from(input), &format!("kubectl {}", arguments.join(" "))).await.map(drop)
    }

    /// Runs helm against this cluster; brings what it prints.
    ///
    /// # Errors
    /// When helm is not there or fails, with its own words.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        let name = format!("helm {}", arguments.join(" "));
        let failed =
            |error: std::io::Error| ClusterError::Command { command: name.clone(), message: error.to_string() };
        // It writes caches even for a chart that is a folder.
        let folder = tempfile::tempdir().map_err(failed)?;
        let mut command = self.pointed_here("helm", "--kube-context", arguments)?;
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, folder.path());
        }
        output(command, &name).await
    }

    /// A program that takes the flag `--kubeconfig` and this flag for the context.
    fn pointed_here(&self, program: &str, context: &str, arguments: &[&str]) -> Result<Command, ClusterError> {
        let mut command = Command::new(programs::find(program)?);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        command.args([context, &self.context]).args(arguments);
        Ok(command)
    }

    /// Where pods of this cluster get our images from, as the chart's value `image.registry`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.registry.as_deref().unwrap_or(catalogue::LOCAL_REGISTRY)
    }

    /// Arguments that point kubectl to this cluster, for a user to copy.
    #[must_use]
    pub fn kubectl_arguments(&self) -> String {
        let kubeconfig =
            self.kubeconfig.as_ref().map_or_else(String::new, |file| format!("--kubeconfig {} ", file.display()));
        if self.node.is_some() {
            kubeconfig.trim().to_owned()
        } else {
            format!("{kubeconfig}--context {}", self.context)
        }
    }

    /// Forwards a loopback port of this machine to a port of a service: each connection goes to a pod of it that is
    /// ready then.
    ///
    /// # Errors
    /// When no port is free here.
    pub async fn forward(&self, namespace: &str, service: &str, port: u16) -> Result<Forward, ClusterError> {
        let target = Target::Service { name: service.to_owned(), port };
        Ok(Forward::start(self.client()?, namespace, target).await?)
    }

    /// Forwards a loopback port of this machine to a port of a pod.
    ///
    /// # Errors
    /// When no port is free here.
    pub async fn forward_pod(&self, namespace: &str, pod: &str, port: u16) -> Result<Forward, ClusterError> {
        let target = Target::Pod { name: pod.to_owned(), port };
        Ok(Forward::start(self.client()?, namespace, target).await?)
    }

    /// Runs a program in a pod; brings what it prints.
    ///
    /// # Errors
    /// When it cannot be run or fails, with its own words.
    pub async fn exec(&self, namespace: &str, pod: &str, program: &[&str]) -> Result<String, ClusterError> {
        let failed = |message: String| ClusterError::Command { command: program.join(" "), message };
        let pods = Api::<Pod>::namespaced(self.client()?, namespace);
        let mut process = pods.exec(pod, program.iter().copied(), &AttachParams::default().stderr(true)).await?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let (mut output, mut errors) = (String::new(), String::new());
        let read = async {
            if let Some(mut stdout) = stdout {
                stdout.read_to_string(&mut output).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let read_errors = async {
            if let Some(mut stderr) = stderr {
                stderr.read_to_string(&mut errors).await?;
            }
            Ok(())
        };
        futures_util::try_join!(read, read_errors).map_err(|error| failed(error.to_string()))?;
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        match status.and_then(|status| status.status).as_deref() {
            Some("Success") => Ok(output),
            _ => Err(failed(format!("{output}{errors}"))),
        }
    }
}

async fn configuration(file: Option<&Path>, context: &str) -> Result<Config, ClusterError> {
    let failed = |source| ClusterError::Kubeconfig { context: context.to_owned(), source: Box::new(source) };
    let kubeconfig = file.map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(failed)?;
    let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)
}

/// Loads an archive into the nodes of a kind cluster.
///
/// # Errors
/// When kind is not there or fails, with its own words.
pub async fn load(archive: &Path, cluster: &str) -> Result<(), ClusterError> {
    let mut command = Command::new(programs::find("kind")?);
    command.args(["load", "image-archive"]).arg(archive).args(["--name", cluster]);
    output(command, "kind load image-archive").await.map(drop)
}

/// Runs a program to its end; brings what it prints.
///
/// # Errors
/// When it cannot be started or fails, with its own words.
pub async fn output(command: Command, name: &str) -> Result<String, ClusterError> {
    output_of(command, Stdio::null(), name).await
}

async fn output_of(mut command: Command, input: Stdio, name: &str) -> Result<String, ClusterError> {
    let failed = |message| ClusterError::Command { command: name.to_owned(), message };
    let output = command.stdin(input).kill_on_drop(true).output().await;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
