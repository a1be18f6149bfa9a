//! Which cloud and who asks: `clouds.yaml` as OpenStack's own programs read it, else `OS_*`.
//!
//! Passwords and application credentials are known; tokens, SAML and the like are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Secret;

/// The identity service of OVHcloud's Public Cloud.
const OVH: &str = "https://auth.cloud.ovh.net/v3";

/// A cloud, and who asks it.
#[derive(Debug)]
pub struct Cloud {
    /// Of the identity service.
    pub auth_url: String,
    /// Where the catalog has more than one.
    pub region: Option<String>,
    /// Which of a service's addresses: `public`, `internal` or `admin`.
    pub interface: String,
    /// Authorities to trust instead of the public ones, in PEM.
    pub ca: Option<PathBuf>,
    pub(super) credentials: Credentials,
}

/// Who asks.
#[derive(Debug)]
pub(super) enum Credentials {
    Password { user: Name, password: Secret, project: Option<Name> },
    Application { id: Option<String>, name: Option<String>, user: Option<Name>, secret: Secret },
}

/// A user or project, by id, or by name within a domain.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Id(String),
    Named { name: String, domain: Domain },
}

/// A domain.
#[derive(Clone, Debug)]
pub(super) enum Domain {
    Id(String),
    Name(String),
}

/// Why no cloud is known.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nothing names one.
    #[error("no cloud is named: neither OS_CLOUD nor OS_AUTH_URL is set")]
    Absent,
    /// There is no such cloud.
    #[error("no `clouds.yaml` has the cloud `{0}`")]
    Cloud(String),
    /// The file cannot be read.
    #[error("failed to read `{path}`: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why, in one line.
        reason: String,
    },
    /// Something is missing.
    #[error("{place} says no {what}")]
    Missing {
        /// Where it should be.
        place: String,
        /// What it is.
        what: &'static str,
    },
}

impl ConfigError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Absent => Some(
                "source the provider's openrc file, or write `clouds.yaml` and use --cloud NAME".to_owned(),
            ),
            ConfigError::Cloud(_) => {
                Some("it is looked for here, in `~/.config/openstack` and in `/etc/openstack`".to_owned())
            }
            _ => None,
        }
    }
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    clouds: BTreeMap<String, Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Auth,
    region_name: Option<String>,
    interface: Option<String>,
    cacert: Option<PathBuf>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth_url: Option<String>,
    username: Option<String>,
    user_id: Option<String>,
    password: Option<String>,
    user_domain_name: Option<String>,
    user_domain_id: Option<String>,
    project_name: Option<String>,
    project_id: Option<String>,
    project_domain_name: Option<String>,
    project_domain_id: Option<String>,
    application_credential_id: Option<String>,
    application_credential_name: Option<String>,
    application_credential_secret: Option<String>,
}

impl Cloud {
    /// Finds the cloud `name`, or the one that the environment names. `ovh`: the identity service is
    /// OVHcloud's where nothing else is said. `variable` gives the environment's.
    pub fn find(
        name: Option<&str>,
        ovh: bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Cloud, ConfigError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let named = name.map(str::to_owned).or_else(|| variable("OS_CLOUD"));
        if let Some(named) = named {
            let entry = load(&named, &variable)?;
            return Cloud::of(entry, &format!("the cloud `{named}`"), ovh);
        }
        let auth_url = variable("OS_AUTH_URL");
        if auth_url.is_none() && !(ovh && variable("OS_USERNAME").is_some()) {
            return Err(ConfigError::Absent);
        }
        let auth = Auth {
            auth_url,
            username: variable("OS_USERNAME"),
            user_id: variable("OS_USER_ID"),
            password: variable("OS_PASSWORD"),
            user_domain_name: variable("OS_USER_DOMAIN_NAME"),
            user_domain_id: variable("OS_USER_DOMAIN_ID"),
            project_name: variable("OS_PROJECT_NAME").or_else(|| variable("OS_TENANT_NAME")),
            project_id: variable("OS_PROJECT_ID").or_else(|| variable("OS_TENANT_ID")),
            project_domain_name: variable("OS_PROJECT_DOMAIN_NAME"),
            project_domain_id: variable("OS_PROJECT_DOMAIN_ID"),
            application_credential_id: variable("OS_APPLICATION_CREDENTIAL_ID"),
            application_credential_name: variable("OS_APPLICATION_CREDENTIAL_NAME"),
            application_credential_secret: variable("OS_APPLICATION_CREDENTIAL_SECRET"),
        };
        let entry = Entry {
            auth,
            region_name: variable("OS_REGION_NAME"),
            interface: variable("OS_INTERFACE").or_else(|| variable("OS_ENDPOINT_TYPE")),
            cacert: variable("OS_CACERT").map(PathBuf::from),
        };
        Cloud::of(entry, "the environment", ovh)
    }

    fn of(entry: Entry, place: &str, ovh: bool) -> Result<Cloud, ConfigError> {
        let missing = |what| ConfigError::Missing { place: place.to_owned(), what };
        let Entry { auth, region_name, interface, cacert } = entry;
        let auth_url = auth.auth_url.clone().or_else(|| ovh.then(|| OVH.to_owned()));
        let interface = interface.unwrap_or_else(|| "public".to_owned());
        Ok(Cloud {
            auth_url: auth_url.ok_or_else(|| missing("auth_url"))?,
            region: region_name,
            // Older programs wrote `publicURL`.
            interface: interface.trim_end_matches("URL").to_owned(),
            ca: cacert,
            credentials: credentials(auth, missing)?,
        })
    }
}

fn credentials(
    auth: Auth,
    missing: impl Fn(&'static str) -> ConfigError,
) -> Result<Credentials, ConfigError> {
    // What most clouds call their only domain.
    let domain = |id: Option<String>, name: Option<String>| match (id, name) {
        (Some(id), _) => Domain::Id(id),
        (None, Some(name)) => Domain::Name(name),
        (None, None) => Domain::Id("default".to_owned()),
    };
    let of = |id: Option<String>, name: Option<String>, domain: Domain| match (id, name) {
        (Some(id), _) => Some(Name::Id(id)),
        (None, Some(name)) => Some(Name::Named { name, domain }),
        (None, None) => None,
    };
    let user = of(auth.user_id, auth.username, domain(auth.user_domain_id, auth.user_domain_name));
    if let Some(secret) = auth.application_credential_secret {
        let (id, name) = (auth.application_credential_id, auth.application_credential_name);
        if id.is_none() && (name.is_none() || user.is_none()) {
            return Err(missing("application_credential_id"));
        }
        return Ok(Credentials::Application { id, name, user, secret: Secret::new(secret) });
    }
    let project =
        of(auth.project_id, auth.project_name, domain(auth.project_domain_id, auth.project_domain_name));
    let password = auth.password.map(Secret::new).ok_or_else(|| missing("password"))?;
    Ok(Credentials::Password { user: user.ok_or_else(|| missing("username"))?, password, project })
}

/// The entry of a cloud in the first `clouds.yaml` that there is; `secure.yaml` beside it adds secrets.
fn load(name: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Entry, ConfigError> {
    let home = variable("HOME").map(|home| PathBuf::from(home).join(".config"));
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from).or(home);
    let folders =
        [Some(PathBuf::from(".")), config.map(|base| base.join("openstack")), Some("/etc/openstack".into())];
    let standard = folders.into_iter().flatten().map(|folder| folder.join("clouds.yaml"));
    let own = variable("OS_CLIENT_CONFIG_FILE").map(PathBuf::from);
    let Some(path) = own.into_iter().chain(standard).find(|path| path.is_file()) else {
        return Err(ConfigError::Cloud(name.to_owned()));
    };
    let Some(mut entry) = read(&path)?.clouds.remove(name) else {
        return Err(ConfigError::Cloud(name.to_owned()));
    };
    let secure = path.with_file_name("secure.yaml");
    if secure.is_file()
        && let Some(more) = read(&secure)?.clouds.remove(name)
    {
        let (auth, more) = (&mut entry.auth, more.auth);
        auth.password = more.password.or(auth.password.take());
        auth.application_credential_secret =
            more.application_credential_secret.or(auth.application_credential_secret.take());
    }
    Ok(entry)
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let wrong = |reason: String| ConfigError::File {
        path: path.to_owned(),
        // Never the lines around it, which may hold a password.
        reason: reason.lines().next().unwrap_or_default().to_owned(),
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUDS: &str = "\
clouds:
  work:
    auth:
      auth_url: https://keystone.example.org/v3
      username: ops
      project_name: web
      user_domain_name: Corp
    region_name: GRA11
    interface: internal
  robot:
    auth_type: v3applicationcredential
    auth: {auth_url: 'https://k', application_credential_id: abc, application_credential_secret: sesame}
  half:
    auth: {auth_url: 'https://k', username: ops}
";

    fn find(name: Option<&str>, ovh: bool, set: &[(&str, &str)]) -> Result<Cloud, ConfigError> {
        Cloud::find(name, ovh, |name| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_cloud_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clouds.yaml");
        std::fs::write(&file, CLOUDS).unwrap();
        let set = [("OS_CLIENT_CONFIG_FILE", file.to_str().unwrap())];
        let missing = find(Some("work"), false, &set).unwrap_err();
        assert_eq!(missing.to_string(), "the cloud `work` says no password");
        std::fs::write(file.with_file_name("secure.yaml"), "clouds: {work: {auth: {password: sesame}}}\n")
            .unwrap();
        let work = find(Some("work"), false, &set).unwrap();
        assert_eq!((work.region.as_deref(), work.interface.as_str()), (Some("GRA11"), "internal"));
        let shown = format!("{work:?}");
        assert!(shown.contains("Corp") && !shown.contains("sesame"), "{shown}");
        assert!(matches!(
            find(None, false, &[set[0], ("OS_CLOUD", "robot")]).unwrap().credentials,
            Credentials::Application { id: Some(id), .. } if id == "abc"
        ));
        assert_eq!(
            find(Some("half"), false, &set).unwrap_err().to_string(),
            "the cloud `half` says no password"
        );
        assert!(matches!(find(Some("none"), false, &set), Err(ConfigError::Cloud(_))));
        std::fs::write(&file, "clouds: [").unwrap();
        assert!(matches!(find(Some("work"), false, &set), Err(ConfigError::File { .. })));
    }

    #[test]
    fn the_environment_of_an_openrc_file() {
        assert!(matches!(find(None, false, &[]), Err(ConfigError::Absent)));
        let set = [
            ("OS_USERNAME", "user-x"),
            ("OS_PASSWORD", "sesame"),
            ("OS_TENANT_ID", "0a"),
            ("OS_REGION_NAME", "GRA11"),
        ];
        assert!(matches!(find(None, false, &set), Err(ConfigError::Absent)));
        let ovh = find(None, true, &set).unwrap();
        assert_eq!(ovh.auth_url, OVH);
        assert!(matches!(
            ovh.credentials,
            Credentials::Password { project: Some(Name::Id(id)), .. } if id == "0a"
        ));
        let other = find(
            None,
            true,
            &[set[0], set[1], ("OS_AUTH_URL", "https://k/v3"), ("OS_INTERFACE", "publicURL")],
        );
        let other = other.unwrap();
        assert_eq!((other.auth_url.as_str(), other.interface.as_str()), ("https://k/v3", "public"));
    }
}
