//! `make images`: the images of worker and operator, with Docker or without, pushed and loaded as asked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use e2e::catalogue::{self, LOCAL_REGISTRY, Product, TAG, TOOLS};
use e2e::cluster::{ClusterError, load, output};
use e2e::node::programs;
use tokio::process::Command;

/// Builds the images of worker and operator: with Docker from the Dockerfile, else from programs that cargo builds,
/// into target/images.
#[derive(Debug, Parser)]
#[command(name = "images")]
struct Arguments {
    /// Push them to this registry: `registry.example.org/team`.
    #[arg(long, env = "REGISTRY", default_value = "", hide_default_value = true)]
    registry: String,
    /// Their tag.
    #[arg(long, env = "TAG", default_value = TAG)]
    tag: String,
    /// Load them into the kind cluster of this name.
    #[arg(long, env = "KIND", default_value = "", hide_default_value = true)]
    kind: String,
    /// Also those that the stories need beside them: TSDB, collectors, a shell. Never with Docker.
    #[arg(long)]
    stories: bool,
}

/// An image that was made.
struct Made {
    name: String,
    /// None when it is Docker's.
    archive: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("images: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), ClusterError> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let products = Product::ALL.into_iter().filter(|product| repository.join(product.package()).is_dir());
    let products: Vec<_> = products.collect();
    let registry =
        if arguments.registry.is_empty() { LOCAL_REGISTRY } else { arguments.registry.trim_end_matches('/') };
    let docker = output(command("docker", &["info"]), "docker info").await.is_ok();
    let mut made = Vec::new();
    if docker {
        for product in &products {
            let name = format!("{registry}/{}:{}", product.name(), arguments.tag);
            let version = format!("org.opencontainers.image.version={}", arguments.tag);
            let mut build =
                command("docker", &["build", "--target", product.package(), "--label", &version, "--tag", &name]);
            build.arg(&repository);
            shown(build, "docker build").await?;
            println!("{name}  built with Docker");
            made.push(Made { name, archive: None });
        }
    } else {
        let binaries = built(&repository, &products).await?;
        for product in &products {
            let image = product.image(&binaries, registry, &arguments.tag)?;
            made.push(written(&image)?);
        }
    }
    if arguments.stories {
        let tools = TOOLS.into_iter().map(catalogue::tool).chain([catalogue::busybox()]);
        for image in tools {
            let mut image = image?;
            image.name = image.name.replacen(LOCAL_REGISTRY, registry, 1);
            made.push(written(&image)?);
        }
    }
    for image in &made {
        if !arguments.registry.is_empty() {
            push(image).await?;
            println!("{}  pushed", image.name);
        }
        if !arguments.kind.is_empty() {
            match &image.archive {
                Some(archive) => load(archive, &arguments.kind).await?,
                None => {
                    let load = command("kind", &["load", "docker-image", &image.name, "--name", &arguments.kind]);
                    output(load, "kind load docker-image").await.map(drop)?;
                }
            }
            println!("{}  loaded into kind cluster {}", image.name, arguments.kind);
        }
    }
    Ok(())
}

fn written(image: &e2e::image::Image) -> Result<Made, ClusterError> {
    let (archive, digest) = catalogue::write(image)?;
    println!("{}  {digest}  {}", image.name, archive.display());
    Ok(Made { name: image.name.clone(), archive: Some(archive) })
}

/// The optimised programs; the folder that cargo puts them into.
async fn built(repository: &Path, products: &[Product]) -> Result<PathBuf, ClusterError> {
    let mut build = command("cargo", &["build", "--release", "--locked"]);
    for product in products {
        build.args(["--bin", product.name()]);
    }
    build.current_dir(repository);
    shown(build, "cargo build --release").await?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(repository.join(target).join("release"))
}

/// Without Docker another program has to talk to the registry, and to know the user's credentials.
async fn push(image: &Made) -> Result<(), ClusterError> {
    let Some(archive) = &image.archive else {
        return shown(command("docker", &["push", &image.name]), "docker push").await;
    };
    let archive = archive.display().to_string();
    if programs::find("skopeo").is_ok() {
        let (from, to) = (format!("docker-archive:{archive}"), format!("docker://{}", image.name));
        return shown(command("skopeo", &["copy", &from, &to]), "skopeo copy").await;
    }
    if programs::find("crane").is_ok() {
        return shown(command("crane", &["push", &archive, &image.name]), "crane push").await;
    }
    Err(ClusterError::Command {
        command: format!("push {}", image.name),
        message: format!(
            "no program here can push {archive}: install Docker, skopeo (Debian package skopeo) or crane, and run this again"
        ),
    })
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs a program whose progress the user sees.
async fn shown(mut command: Command, name: &str) -> Result<(), ClusterError> {
    let failed = |message: String| ClusterError::Command { command: name.to_owned(), message };
    let status = command.kill_on_drop(true).status().await.map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(format!("ended with {status}"))) }
}
