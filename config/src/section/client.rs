//! Connection keys that reader and writer share.

use crate::fields::Fields;
use crate::problem::Problems;
use crate::schema::{Key, Kind, Presence, Section};
use crate::worker::{HttpClient, VerifyTls};

pub(crate) const SECTION: Section = Section {
    title: "Connection of `reader` and `writer`",
    about: "How to reach the time series database; the same keys for both sections.",
    keys: &[
        Key::new(
            "datasource_url",
            Kind::Url,
            Presence::Required,
            "Base URL. A path `/select/<tenant>/prometheus` (reader) or `/insert/<tenant>/prometheus` (writer) at its end is the same as `tenant_id`. Credentials go to `user` and `password`, not into the URL.",
        ),
        Key::new(
            "tenant_id",
            TENANT,
            Presence::Absent("a single-node database"),
            "Tenant of a VictoriaMetrics cluster; `multitenant` reads all tenants, and writes to the tenant in the labels `vm_account_id` and `vm_project_id`.",
        ),
        Key::new("user", Kind::Text, Presence::Absent("no basic authentication"), "User name of basic authentication."),
        Key::new("password", Kind::Secret, Presence::Absent("no password"), "Password of basic authentication."),
        Key::new(
            "password_file",
            Kind::File,
            Presence::Absent("no file"),
            "File with the password; a changed file takes effect without a restart.",
        )
        .own(),
        Key::new(
            "bearer_token",
            Kind::Secret,
            Presence::Absent("no token"),
            "Token of the `Authorization: Bearer` header.",
        ),
        Key::new(
            "bearer_token_file",
            Kind::File,
            Presence::Absent("no file"),
            "File with the token; a changed file takes effect without a restart.",
        ),
        Key::new(
            "verify_tls",
            VERIFY,
            Presence::Default("true"),
            "Verification of the server's certificate: `true` against the system's authorities, a path against the authorities in that PEM file, `false` not at all. vmanomaly does not verify unless told to.",
        ),
        Key::new(
            "tls_cert_file",
            Kind::File,
            Presence::Absent("no client certificate"),
            "Client certificate for mutual TLS, PEM.",
        ),
        Key::new("tls_key_file", Kind::File, Presence::Absent("no client key"), "Key of the client certificate, PEM."),
        Key::new("timeout", Kind::Duration, Presence::Default("30s"), "Time limit of one request."),
    ],
};

pub(crate) const TENANT: Kind = Kind::Special("tenant", "`account`, `account:project` (numbers) or `multitenant`");
const VERIFY: Kind = Kind::Special("Boolean or path", "`true`, `false` or the path of a PEM file");

/// `multitenant`, or `account:project` with the project filled in.
pub(crate) fn parse_tenant(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == "multitenant" {
        return Ok(text.to_owned());
    }
    let (account, project) = text.split_once(':').unwrap_or((text, "0"));
    match (account.parse::<u32>(), project.parse::<u32>()) {
        (Ok(account), Ok(project)) => Ok(format!("{account}:{project}")),
        _ => Err(format!("must be {}", TENANT.allowed())),
    }
}

/// The client of `reader` or `writer`; `route` is `select` or `insert`, the path of cluster URLs.
pub(crate) fn build(fields: &Fields<'_>, route: &str, problems: &mut Problems) -> HttpClient {
    let mut url = url(fields, problems).unwrap_or_default();
    let mut tenant_id = fields.parsed("tenant_id", problems, parse_tenant);
    if let Some((base, tenant)) = cluster_url(&url, route) {
        match (&tenant_id, parse_tenant(tenant)) {
            (Some(wanted), Ok(tenant)) if *wanted != tenant => {
                let reason = format!("is {wanted}, but the path of `datasource_url` says {tenant}");
                fields.conflict("tenant_id", reason, problems);
            }
            (_, Ok(tenant)) => tenant_id = Some(tenant),
            (_, Err(reason)) => {
                fields.conflict("datasource_url", format!("the tenant in the path {reason}"), problems);
            }
        }
        url = base.to_owned();
    }
    let client = HttpClient {
        url,
        tenant_id,
        user: fields.text("user", problems),
        password: fields.text("password", problems),
        password_file: fields.text("password_file", problems),
        bearer_token: fields.text("bearer_token", problems),
        bearer_token_file: fields.text("bearer_token_file", problems),
        verify_tls: fields.parsed("verify_tls", problems, verify_tls).unwrap_or(VerifyTls::System),
        tls_cert_file: fields.text("tls_cert_file", problems),
        tls_key_file: fields.text("tls_key_file", problems),
        timeout: fields.duration("timeout", problems).unwrap_or_default(),
    };
    check(fields, problems);
    client
}

fn verify_tls(text: &str) -> Result<VerifyTls, String> {
    match text.to_ascii_lowercase().as_str() {
        "" => Err(format!("must be {}", VERIFY.allowed())),
        "true" | "yes" | "on" => Ok(VerifyTls::System),
        "false" | "no" | "off" => Ok(VerifyTls::Off),
        _ => Ok(VerifyTls::CaFile(text.to_owned())),
    }
}

/// Keys that exclude or need each other.
fn check(fields: &Fields<'_>, problems: &mut Problems) {
    let has = |name: &str| fields.raw(name).is_some();
    for (inline, file) in [("password", "password_file"), ("bearer_token", "bearer_token_file")] {
        if has(inline) && has(file) {
            fields.conflict(file, format!("and `{inline}` exclude each other"), problems);
        }
    }
    let basic = has("user") || has("password") || has("password_file");
    for token in ["bearer_token", "bearer_token_file"] {
        if basic && has(token) {
            fields.conflict(token, "and basic authentication exclude each other", problems);
        }
    }
    for password in ["password", "password_file"] {
        if has(password) && !has("user") {
            fields.conflict(password, "needs `user`", problems);
        }
    }
    for (one, other) in [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")] {
        if has(one) && !has(other) {
            fields.conflict(one, format!("needs `{other}`"), problems);
        }
    }
}

/// The base URL without a slash at its end.
fn url(fields: &Fields<'_>, problems: &mut Problems) -> Option<String> {
    let text = fields.text("datasource_url", problems)?;
    let text = text.trim();
    match check_url(text) {
        Ok(()) => Some(text.trim_end_matches('/').to_owned()),
        // The URL is not quoted: it may carry a password.
        Err(reason) => {
            fields.conflict("datasource_url", reason, problems);
            None
        }
    }
}

fn check_url(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let rest = rest.ok_or("must start with `http://` or `https://`")?;
    if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
        return Err("must not contain white space");
    }
    if rest.contains(['?', '#']) {
        return Err("must not have a query or a fragment: it is a base URL");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("must not carry credentials: use `user` and `password` or `password_file`");
    }
    // The port follows the last colon, unless that is inside the brackets of an IPv6 address.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return Err("has no host");
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("has a wrong port: it must be a number up to 65535");
    }
    Ok(())
}

/// The base and the tenant of a URL that ends in `/<route>/<tenant>/prometheus`.
fn cluster_url<'a>(url: &'a str, route: &str) -> Option<(&'a str, &'a str)> {
    let (before, tenant) = url.strip_suffix("/prometheus")?.rsplit_once('/')?;
    let base = before.strip_suffix(route)?.strip_suffix('/')?;
    Some((base, tenant))
}
