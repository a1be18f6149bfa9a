//! The seccomp profile: Podman's file, resolved for this architecture.
//!
//! The source is `/usr/share/containers/seccomp.json` of golang-github-containers-common, in Docker's
//! format, whose rules are conditional (`includes`, `excludes`, `archMap`). The result is `linux.seccomp`
//! of an OCI runtime specification, but that a rule may have `includes` and `excludes`, lists of
//! capabilities: the agent decides by those of each container.

use serde::Deserialize;
use serde_json::{Value, json};

/// The name of this architecture in the conditions of the rules.
const ARCHITECTURE: &str = "amd64";
/// Its name in `archMap`.
const SECCOMP_ARCHITECTURE: &str = "SCMP_ARCH_X86_64";

/// Why the profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// It is not of the format.
    #[error("the seccomp profile cannot be read")]
    Format(#[from] serde_json::Error),
    /// It lists nothing for this architecture.
    #[error("the seccomp profile does not know {SECCOMP_ARCHITECTURE}")]
    Architecture,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    arch_map: Vec<Architecture>,
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Default, Deserialize)]
struct Condition {
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    caps: Vec<String>,
}

impl Rule {
    /// Whether it is one of this architecture.
    fn applies(&self) -> bool {
        let arch = |condition: &Condition| condition.arches.iter().any(|a| a == ARCHITECTURE);
        (self.includes.arches.is_empty() || arch(&self.includes)) && !arch(&self.excludes)
    }
}

/// Leaves out what is not of this architecture. Conditions on capabilities stay.
pub fn resolve(profile: &str) -> Result<String, SeccompError> {
    let profile: Profile = serde_json::from_str(profile)?;
    let ours = profile.arch_map.iter().find(|a| a.architecture == SECCOMP_ARCHITECTURE);
    let ours = ours.ok_or(SeccompError::Architecture)?;
    let mut architectures = vec![ours.architecture.clone()];
    architectures.extend(ours.sub_architectures.iter().cloned());
    let rules: Vec<Value> = profile.syscalls.iter().filter(|rule| rule.applies()).map(rule).collect();
    let mut result = json!({
        "defaultAction": profile.default_action,
        "architectures": architectures,
        "syscalls": rules,
    });
    if let Some(errno) = profile.default_errno_ret {
        result["defaultErrnoRet"] = errno.into();
    }
    Ok(serde_json::to_string(&result)?)
}

fn rule(rule: &Rule) -> Value {
    let mut value = json!({ "names": rule.names, "action": rule.action });
    if let Some(args) = rule.args.as_ref().filter(|args| !args.is_empty()) {
        value["args"] = args.clone().into();
    }
    if let Some(errno) = rule.errno_ret {
        value["errnoRet"] = errno.into();
    }
    for (name, condition) in [("includes", &rule.includes), ("excludes", &rule.excludes)] {
        if !condition.caps.is_empty() {
            value[name] = condition.caps.clone().into();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
      "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
      "archMap": [
        { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"] },
        { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": [] }
      ],
      "syscalls": [
        { "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {} },
        { "names": ["arm_only"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["arm64"] } },
        { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
        { "names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_CHROOT"] } },
        { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1,
          "args": [{ "index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ" }],
          "excludes": { "caps": ["CAP_SYS_ADMIN"], "arches": ["s390"] } },
        { "names": ["never"], "action": "SCMP_ACT_ALLOW", "excludes": { "arches": ["amd64"] } }
      ] }"#;

    #[test]
    fn only_conditions_on_capabilities_stay() {
        let result: Value = serde_json::from_str(&resolve(PROFILE).unwrap()).unwrap();
        assert_eq!(
            result,
            json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [
                    { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
                    { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": ["CAP_SYS_ADMIN"] },
                    { "names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": ["CAP_SYS_CHROOT"] },
                    { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1,
                      "args": [{ "index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ" }],
                      "excludes": ["CAP_SYS_ADMIN"] },
                ]
            })
        );
    }

    #[test]
    fn another_architecture_alone_is_refused() {
        let profile = PROFILE.replace("SCMP_ARCH_X86_64", "SCMP_ARCH_MIPS");
        assert!(matches!(resolve(&profile), Err(SeccompError::Architecture)));
    }
}
