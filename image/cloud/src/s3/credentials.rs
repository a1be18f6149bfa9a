//! Who writes: the variables that AWS's programs read, else a profile of their credentials file.
//!
//! Deliberately absent: roles, SSO and the metadata service of a cloud's machines.

use std::path::PathBuf;

use crate::Secret;

/// Credentials of S3.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Which key.
    pub id: String,
    /// The key.
    pub secret: Secret,
    /// Of temporary credentials.
    pub token: Option<Secret>,
}

/// Why there are none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing says them.
    #[error("there are no credentials: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor `{0}`")]
    Absent(PathBuf),
    /// The file has no such profile, or not both keys in it.
    #[error("`{path}` has no keys for the profile `{profile}`")]
    Profile {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
    },
}

/// Finds them; `variable` gives the environment's.
pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Credentials, CredentialsError> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        let token = variable("AWS_SESSION_TOKEN").map(Secret::new);
        return Ok(Credentials { id, secret: Secret::new(secret), token });
    }
    let home = || PathBuf::from(variable("HOME").unwrap_or_default()).join(".aws/credentials");
    let path = variable("AWS_SHARED_CREDENTIALS_FILE").map_or_else(home, PathBuf::from);
    let text = std::fs::read_to_string(&path).map_err(|_| CredentialsError::Absent(path.clone()))?;
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    parse(&text, &profile).ok_or(CredentialsError::Profile { path, profile })
}

/// The keys of a profile: `[PROFILE]`, then lines `KEY = VALUE`; `#` and `;` start comments.
fn parse(text: &str, profile: &str) -> Option<Credentials> {
    let header = format!("[{profile}]");
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let section = lines.skip_while(|line| *line != header).skip(1).take_while(|line| !line.starts_with('['));
    let (mut id, mut secret, mut token) = (None, None, None);
    for (key, value) in section.filter_map(|line| line.split_once('=')) {
        let slot = match key.trim() {
            "aws_access_key_id" => &mut id,
            "aws_secret_access_key" => &mut secret,
            "aws_session_token" => &mut token,
            _ => continue,
        };
        *slot = Some(value.trim().to_owned());
    }
    Some(Credentials { id: id?, secret: Secret::new(secret?), token: token.map(Secret::new) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# keys\n[default]\naws_access_key_id = A\naws_secret_access_key=S=\n\n[ops]\n\
        aws_access_key_id = B\naws_secret_access_key = T\naws_session_token = U\nregion = x\n[half]\n\
        aws_access_key_id = C\n";

    #[test]
    fn variables_come_first_then_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        let found = |set: &[(&str, &str)]| {
            let path = file.to_str().unwrap();
            find(|name| {
                let file = (name == "AWS_SHARED_CREDENTIALS_FILE").then(|| path.to_owned());
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()).or(file)
            })
            .map(|Credentials { id, secret, token }| {
                let shown = |secret: &Secret| secret.expose().to_owned();
                (id, shown(&secret), token.as_ref().map(shown).unwrap_or_default())
            })
        };
        let of =
            |id: &str, secret: &str, token: &str| Ok((id.to_owned(), secret.to_owned(), token.to_owned()));
        assert_eq!(found(&[]), Err(CredentialsError::Absent(file.clone())));
        std::fs::write(&file, FILE).unwrap();
        assert_eq!(found(&[]), of("A", "S=", ""));
        assert_eq!(found(&[("AWS_PROFILE", "ops")]), of("B", "T", "U"));
        let half = Err(CredentialsError::Profile { path: file.clone(), profile: "half".to_owned() });
        assert_eq!(found(&[("AWS_PROFILE", "half")]), half);
        let keys = [("AWS_ACCESS_KEY_ID", "I"), ("AWS_SECRET_ACCESS_KEY", "K")];
        assert_eq!(found(&keys), of("I", "K", ""));
        assert_eq!(found(&[keys[0]]), of("A", "S=", ""));
    }
}
