//! Every secret that the box knows, so that none of them is in what others are given.

use agent_core::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use recipes::model::{BoxSettings, ParamValue};

use crate::agent::Agent;

/// Pieces of an address that are shorter are words, and not secrets.
const PIECE: usize = 12;

/// All of them: given, generated, and what steps said.
pub(super) fn all(agent: &Agent) -> Vec<Secret> {
    let (generated, _) = agent.records.all_secrets();
    let (records, _) = agent.records.instances();
    let live = agent.live();
    let mut all = of_box(&live.document.settings);
    let params = live.document.instances.iter().flat_map(|instance| instance.params.values());
    all.extend(params.filter_map(|value| match value {
        ParamValue::Secret(secret) => Some(secret.clone()),
        _ => None,
    }));
    all.extend(generated.into_values().flat_map(|values| values.into_values()));
    all.extend(records.into_values().flat_map(|record| record.steps.into_values()).map(|step| step.output));
    all
}

fn of_box(settings: &BoxSettings) -> Vec<Secret> {
    let mut all = Vec::new();
    for registry in &settings.registries {
        let Some(password) = &registry.password else { continue };
        let user = registry.username.as_deref().unwrap_or_default();
        all.push(password.clone());
        all.push(Secret::new(STANDARD.encode(format!("{user}:{}", password.expose()))));
    }
    if let Some(notify) = &settings.notify {
        let url = notify.url.expose();
        all.push(notify.url.clone());
        // User, path or query may be all that lets someone send there, together or each alone.
        let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
        let (authority, path) = behind.split_once('/').unwrap_or((behind, ""));
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        let plain = path.split('?').next().unwrap_or_default();
        all.extend([user, path, plain].map(Secret::new));
        let pieces = [user, path].into_iter().flat_map(|part| part.split(['/', '?', '&', '=', ':', ';']));
        all.extend(pieces.filter(|piece| piece.len() >= PIECE).map(Secret::new));
    }
    all
}

#[cfg(test)]
mod tests {
    use agent_core::redact::Redactor;

    use super::*;

    #[test]
    fn passwords_and_addresses_are_known_in_their_forms() {
        let document = r#"
[[box.registry]]
host = "r.example.org"
username = "hub"
password = "pass word"
[box.notify]
url = "https://me:token-number-1@hooks.example.org/services/token-number-2?k=token-number-3"
"#;
        let settings = recipes::user_data::parse("x", document).unwrap().settings;
        let redactor = Redactor::new(of_box(&settings));
        let text = "pass word; pass%20word; aHViOnBhc3Mgd29yZA==; POST /services/token-number-2?k=token-number-3; \
                    me:token-number-1; services/token-number-2; token-number-3; the services run";
        let shown = redactor.text(text);
        for secret in ["pass word", "pass%20word", "aHViOn", "token-"] {
            assert!(!shown.contains(secret), "{secret} is in {shown}");
        }
        assert!(shown.ends_with("the services run"), "{shown}");
    }
}
