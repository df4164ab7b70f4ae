//! Who asks the API server, and with what it proves that.

use std::path::Path;

use serde_json::{Value, json};

use super::authority::Identity;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User<'a> {
    /// May do everything: the group `system:masters`.
    Admin,
    /// A user by certificate. Without a RoleBinding it may do next to nothing.
    Named {
        /// Its name.
        name: &'a str,
        /// Its group besides `system:authenticated`.
        group: Option<&'a str>,
    },
    /// A ServiceAccount by token; it has to exist.
    ServiceAccount {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
}

impl User<'_> {
    /// The name under which RBAC and the audit log have it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Named { name, .. } => (*name).to_owned(),
            Self::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
        }
    }
}

/// With what somebody proves who they are.
#[derive(Debug)]
pub(crate) enum Credentials {
    /// A client certificate.
    Certificate(Identity),
    /// A bearer token.
    Token(String),
}

/// The kubeconfig of one user for the server at `url`, whose authority's certificate is the file `trusted`. A
/// certificate's own files are put next to it, under the names that `files` gives.
pub(crate) fn kubeconfig(url: &str, trusted: &Path, credentials: &Credentials, files: [&Path; 2]) -> Value {
    let user = match credentials {
        Credentials::Certificate(_) => json!({"client-certificate": files[0], "client-key": files[1]}),
        Credentials::Token(token) => json!({"token": token}),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": url, "certificate-authority": trusted}}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user"}}],
        "current-context": "tests",
    })
}
