//! What the API server was asked, by whom, and what it answered: its audit log, one event a request.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::KubernetesError;

/// What the API server logs: of every request who, what and the answer's status, without bodies, when the answer
/// begins (watches) and when it is complete.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    #[serde(rename = "auditID")]
    audit_id: String,
    /// The verb in RBAC's terms: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the
    /// HTTP method in lower case for paths that are no resource.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Who asked.
    pub user: AuditUser,
    /// The client's name of itself.
    #[serde(default)]
    pub user_agent: String,
    /// What was asked for; none for paths that are no resource, such as `/readyz`.
    #[serde(rename = "objectRef")]
    pub object: Option<AuditObject>,
    /// The answer.
    #[serde(default)]
    pub response_status: AuditStatus,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditUser {
    /// The name that RBAC has; of a ServiceAccount `system:serviceaccount:<namespace>:<name>`.
    #[serde(default)]
    pub username: String,
    /// Its groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AuditObject {
    /// The plural: `configmaps`.
    pub resource: String,
    /// `status`, `scale`, `token`, ...; empty for the object itself.
    pub subresource: String,
    /// Empty for the core group.
    pub api_group: String,
    /// Empty for cluster-wide requests.
    pub namespace: String,
    /// Empty for lists and for objects that the server names.
    pub name: String,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AuditStatus {
    /// The HTTP status.
    pub code: u16,
}

/// A permission that a request needed, as a rule of a Role names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// The verb.
    pub verb: String,
    /// The group; empty for the core group.
    pub api_group: String,
    /// The resource, with its subresource: `statefulsets`, `vmanomalies/status`.
    pub resource: String,
}

impl AuditEvent {
    /// Whether it was to change something. Dry runs are not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let verbs = ["create", "update", "patch", "delete", "deletecollection"];
        verbs.contains(&self.verb.as_str()) && !self.is_dry_run()
    }

    /// Whether the server was asked to change nothing.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        let query = self.request_uri.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|parameter| parameter.starts_with("dryRun="))
    }

    /// Whether the answer is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    /// The namespace of the request; empty for cluster-wide ones.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.object.as_ref().map_or("", |object| &object.namespace)
    }

    /// The permissions that it needed: one, two for an apply that created its object (`patch` and `create`), none for a
    /// path that is no resource.
    #[must_use]
    pub fn permissions(&self) -> Vec<Permission> {
        let Some(object) = &self.object else { return Vec::new() };
        let resource = match object.subresource.as_str() {
            "" => object.resource.clone(),
            subresource => format!("{}/{subresource}", object.resource),
        };
        let created = self.verb == "patch" && self.response_status.code == 201;
        let verbs = std::iter::once(self.verb.as_str()).chain(created.then_some("create"));
        let permission = |verb: &str| Permission {
            verb: verb.to_owned(),
            api_group: object.api_group.clone(),
            resource: resource.clone(),
        };
        verbs.map(permission).collect()
    }
}

/// Reads the audit log as it grows.
///
/// The API server writes an event before it completes the answer, so every request whose answer a test has seen is
/// there. A watch is there as soon as it is answered, and not a second time at its end.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    offset: u64,
    seen: HashSet<String>,
}

impl AuditLog {
    /// From the log's beginning.
    pub(crate) fn from_beginning(path: &Path) -> Self {
        Self { path: path.to_path_buf(), offset: 0, seen: HashSet::new() }
    }

    /// The requests since the last call, in the order of their answers.
    ///
    /// # Errors
    /// When the log cannot be read or has a line that is no event.
    pub fn read(&mut self) -> Result<Vec<AuditEvent>, KubernetesError> {
        let text = self.new_lines().map_err(|source| {
            let path = self.path.display().to_string();
            KubernetesError::File { path, source }
        })?;
        let mut events = parse(&text)?;
        events.retain(|event| self.seen.insert(event.audit_id.clone()));
        Ok(events)
    }

    /// Passes over what is there: the next [`AuditLog::read`] brings what comes after this call.
    ///
    /// # Errors
    /// When the log cannot be read or has a line that is no event.
    pub fn skip(&mut self) -> Result<(), KubernetesError> {
        self.read().map(drop)
    }

    /// The whole lines since the last call.
    fn new_lines(&mut self) -> std::io::Result<String> {
        let mut file = match File::open(&self.path) {
            // The server makes it with the first event.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
        self.offset += whole as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn parse(text: &str) -> Result<Vec<AuditEvent>, KubernetesError> {
    let event = |line: &str| {
        serde_json::from_str(line).map_err(|source| KubernetesError::AuditLine { line: line.to_owned(), source })
    };
    text.lines().map(event).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(id: &str, verb: &str, uri: &str, code: u16) -> String {
        let object = r#"{"resource":"widgets","subresource":"status","apiGroup":"t.dev","namespace":"n","name":"w"}"#;
        format!(
            r#"{{"auditID":"{id}","verb":"{verb}","requestURI":"{uri}","user":{{"username":"u"}},"objectRef":{object},"responseStatus":{{"code":{code}}}}}"#
        )
    }

    #[test]
    fn half_a_line_waits_for_its_other_half_and_the_end_of_a_watch_is_no_second_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut log = AuditLog::from_beginning(&path);
        assert_eq!(log.read().unwrap(), []);
        let (watch, get) = (line("1", "watch", "/w", 200), line("2", "get", "/g", 404));
        let (begin, end) = get.split_at(40);
        let mut file = File::create(&path).unwrap();
        write!(file, "{watch}\n{begin}").unwrap();
        assert_eq!(log.read().unwrap().len(), 1);
        write!(file, "{end}\n{watch}\n").unwrap();
        let events = log.read().unwrap();
        assert_eq!(events.iter().map(|event| event.response_status.code).collect::<Vec<_>>(), [404]);
    }

    #[test]
    fn an_apply_that_creates_needs_two_permissions_and_a_dry_run_is_no_write() {
        let events =
            [line("1", "patch", "/a?fieldManager=x", 201), line("2", "patch", "/a?dryRun=All&force=true", 200)];
        let events = parse(&events.join("\n")).unwrap();
        let verbs = |event: &AuditEvent| event.permissions().into_iter().map(|needed| needed.verb).collect::<Vec<_>>();
        assert_eq!((verbs(&events[0]), events[0].is_write()), (vec!["patch".to_owned(), "create".to_owned()], true));
        assert_eq!((verbs(&events[1]), events[1].is_write()), (vec!["patch".to_owned()], false));
        assert_eq!(events[0].permissions()[0].resource, "widgets/status");
    }
}
