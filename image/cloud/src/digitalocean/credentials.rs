//! Who asks: the variables that DigitalOcean's programs read, else the configuration of `doctl`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::Secret;

/// The variables, in order.
const VARIABLES: [&str; 2] = ["DIGITALOCEAN_ACCESS_TOKEN", "DIGITALOCEAN_TOKEN"];

/// Why there is no token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing says it.
    #[error("there is no token: neither DIGITALOCEAN_ACCESS_TOKEN nor `{0}`")]
    Absent(PathBuf),
    /// The file is not what `doctl` writes, or has none.
    #[error("`{0}` has no token for the context `{1}`")]
    Context(PathBuf, String),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    access_token: Option<String>,
    context: Option<String>,
    #[serde(default)]
    auth_contexts: BTreeMap<String, String>,
}

/// Finds the token; `variable` gives the environment's.
pub fn token(variable: impl Fn(&str) -> Option<String>) -> Result<Secret, CredentialsError> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(token) = VARIABLES.into_iter().find_map(variable) {
        return Ok(Secret::new(token));
    }
    let base = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || PathBuf::from(variable("HOME").unwrap_or_default()).join(".config");
    let path = base.unwrap_or_else(home).join("doctl/config.yaml");
    let text = std::fs::read_to_string(&path).map_err(|_| CredentialsError::Absent(path.clone()))?;
    let wanted = variable("DIGITALOCEAN_CONTEXT");
    let config: Option<Config> = serde_saphyr::from_str(&text).ok();
    let context = wanted.or_else(|| config.as_ref()?.context.clone()).unwrap_or_else(|| "default".to_owned());
    let found = config.and_then(|config| match context.as_str() {
        "default" => config.access_token,
        named => config.auth_contexts.get(named).cloned(),
    });
    let found = found.filter(|token| !token.is_empty());
    found.map(Secret::new).ok_or(CredentialsError::Context(path, context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_first_then_doctls_configuration() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/doctl");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.yaml");
        let found = |set: &[(&str, &str)]| {
            let token = token(|name| {
                let home = (name == "HOME").then(|| home.path().to_str().unwrap().to_owned());
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()).or(home)
            });
            token.map(|token| token.expose().to_owned())
        };
        assert_eq!(found(&[]), Err(CredentialsError::Absent(file.clone())));
        assert_eq!(found(&[("DIGITALOCEAN_TOKEN", "t")]).as_deref(), Ok("t"));
        std::fs::write(&file, "access-token: a\nauth-contexts:\n  work: b\ncontext: default\noutput: text\n")
            .unwrap();
        assert_eq!(found(&[]).as_deref(), Ok("a"));
        assert_eq!(found(&[("DIGITALOCEAN_ACCESS_TOKEN", "t")]).as_deref(), Ok("t"));
        assert_eq!(found(&[("DIGITALOCEAN_CONTEXT", "work")]).as_deref(), Ok("b"));
        let none = CredentialsError::Context(file.clone(), "none".to_owned());
        assert_eq!(found(&[("DIGITALOCEAN_CONTEXT", "none")]), Err(none));
        std::fs::write(&file, "context: work\nauth-contexts: {work: b}\n").unwrap();
        assert_eq!(found(&[]).as_deref(), Ok("b"));
        std::fs::write(&file, ": [").unwrap();
        assert!(found(&[]).is_err());
    }
}
