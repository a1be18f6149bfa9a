//! Builds the desired state from resolved recipes and from what is there already.

use std::collections::{BTreeMap, BTreeSet};

use recipes::model::{BoxSettings, Item, Mount, ParamValue};
use recipes::resolve::{
    RenderContext, RenderError, RenderedContainer, RenderedFile, RenderedHealth, RenderedOneOff,
    RenderedPlace, RenderedProbe, RenderedStep, ResolvedInstance, Text,
};
use recipes::{Secret, model, shape};

use super::{
    ContainerDesired, Desired, HostDesired, InstanceDesired, Missing, Rendered, StepDesired, StepPlace,
};
use crate::container::{self, ContainerConfig, ContainerName, FileConfig, Port, Protocol, VolumeMount};
use crate::fingerprint::fingerprint;
use crate::health::{HealthConfig, Probe};
use crate::network;

/// What the desired state depends on beside user-data.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Host name where user-data gives none.
    pub hostname: String,
    /// Keys that the provider gives.
    pub provider_keys: Vec<String>,
    /// Admins of a newer document that is not used: whoever wrote it must be able to log in and mend it.
    pub offered_admins: Vec<String>,
    /// What the network is to be, where that is not user-data's alone.
    pub network: Option<network::HostConfig>,
    /// Directories of the volumes that are there, by instance and name.
    pub volumes: BTreeMap<(String, String), String>,
    /// Generated secrets by instance.
    pub secrets: BTreeMap<String, BTreeMap<String, Secret>>,
    /// Outputs of the steps that succeeded, by instance.
    pub outputs: BTreeMap<String, BTreeMap<String, Secret>>,
    /// Whether every document that was accepted is unusable.
    pub lost: bool,
}

/// The desired state of the whole box.
pub fn build(settings: &BoxSettings, instances: &[ResolvedInstance], facts: &Facts) -> Desired {
    let hostname = settings.hostname.clone().unwrap_or_else(|| facts.hostname.clone());
    let instances = instances.iter().map(|i| (i.name.clone(), instance(i, &hostname, facts))).collect();
    Desired { host: host(settings, hostname, facts), instances, lost: facts.lost }
}

/// The box itself, without its instances: also for a document of which only `[box]` can be read.
pub fn host(settings: &BoxSettings, hostname: String, facts: &Facts) -> HostDesired {
    let mut admin_keys: Vec<String> = settings.admins.iter().map(|key| key.as_str().to_owned()).collect();
    if settings.provider_keys {
        admin_keys.extend(facts.provider_keys.iter().cloned());
    }
    admin_keys.extend(facts.offered_admins.iter().cloned());
    let mut seen = BTreeSet::new();
    admin_keys.retain(|key| seen.insert(key.clone()));
    HostDesired {
        hostname,
        admin_keys,
        time_servers: settings.ntp.clone(),
        network: facts.network.clone().unwrap_or_else(|| network::HostConfig {
            owner: network_settings(settings),
            ..network::HostConfig::default()
        }),
    }
}

/// What a document says of the network.
pub fn network_settings(settings: &BoxSettings) -> network::NetworkSettings {
    network::NetworkSettings {
        interfaces: settings.interfaces.iter().map(interface).collect(),
        dns: settings.dns.clone(),
    }
}

fn interface(given: &model::Interface) -> network::InterfaceConfig {
    let cidr =
        |c: &shape::Cidr| network::Cidr::new(c.address, c.prefix).expect("the language checks prefixes");
    network::InterfaceConfig {
        matches: match &given.matcher {
            model::InterfaceMatch::Mac(mac) => network::LinkMatch::Mac(network::Mac(mac.0)),
            model::InterfaceMatch::Name(name) => network::LinkMatch::Name(name.clone()),
        },
        dhcp4: given.dhcp4,
        dhcp6: None,
        accept_ra: given.accept_ra,
        addresses: given.addresses.iter().map(cidr).collect(),
        routes: given
            .routes
            .iter()
            .map(|r| network::RouteConfig {
                to: cidr(&r.to),
                via: r.via,
                on_link: r.on_link,
                metric: r.metric,
            })
            .collect(),
        dns: given.dns.clone(),
        mtu: given.mtu,
    }
}

fn instance(resolved: &ResolvedInstance, hostname: &str, facts: &Facts) -> InstanceDesired {
    let none = BTreeMap::new();
    let secrets = facts.secrets.get(&resolved.name).unwrap_or(&none).clone();
    let context = RenderContext {
        secrets,
        box_hostname: hostname.to_owned(),
        step_outputs: facts.outputs.get(&resolved.name).cloned().unwrap_or_default(),
    };
    let builder = Builder { resolved, context: &context, facts };
    let containers =
        resolved.recipe.containers.iter().map(|c| (c.name.clone(), builder.container(c))).collect();
    let steps = resolved.recipe.steps.iter().map(|s| (s.name.clone(), builder.step(s))).collect();
    InstanceDesired {
        name: resolved.name.clone(),
        recipe: resolved.recipe.name.clone(),
        volumes: resolved.volumes.clone(),
        secrets: resolved.generate.clone(),
        containers,
        steps,
        params: params(resolved, &context),
        health_timeout: resolved.health_timeout,
    }
}

/// Changes when a parameter's value does.
fn params(resolved: &ResolvedInstance, context: &RenderContext) -> String {
    let generated = context.secrets.iter().filter(|(name, _)| resolved.generate.contains_key(*name));
    let values: BTreeMap<&str, &ParamValue> = resolved.params.iter().map(|(k, v)| (k.as_str(), v)).collect();
    fingerprint(&(values, generated.collect::<BTreeMap<_, _>>()))
}

struct Builder<'a> {
    resolved: &'a ResolvedInstance,
    context: &'a RenderContext,
    facts: &'a Facts,
}

impl Builder<'_> {
    fn container(&self, declared: &model::Container) -> ContainerDesired {
        let rendered = self.resolved.render_container(&declared.name, self.context);
        let (ports, health) = match &rendered {
            Ok(rendered) => {
                (rendered.ports.iter().map(port).collect(), rendered.health.as_ref().map(health_config))
            }
            Err(_) => (Vec::new(), None),
        };
        ContainerDesired {
            image: declared.image.to_string(),
            ports,
            config: self.rendered(rendered, &declared.volumes, |r, volumes| self.config(r, volumes)),
            health,
            restart: declared.restart,
            require: declared.require.clone(),
        }
    }

    fn step(&self, declared: &model::Step) -> StepDesired {
        let rendered = self.resolved.render_step(&declared.name, self.context);
        let none = BTreeMap::new();
        let run = self.rendered(rendered.clone(), &none, |step, _| words(&step.run));
        let place = match &declared.place {
            model::StepPlace::In(container) => StepPlace::In(container.clone()),
            model::StepPlace::OneOff(one_off) => StepPlace::OneOff {
                image: one_off.image.to_string(),
                config: self
                    .rendered(rendered, &one_off.volumes, |step, volumes| self.one_off(&step, volumes)),
            },
        };
        let mut require = declared.require.clone();
        if let StepPlace::In(container) = &place {
            let item = Item::Container(container.clone());
            if !require.contains(&item) {
                require.push(item);
            }
        }
        StepDesired {
            place,
            run,
            require,
            when: declared.when,
            timeout: declared.timeout,
            retries: declared.retries,
        }
    }

    /// Joins what was rendered with the volumes, or tells what is missing.
    fn rendered<T, U>(
        &self,
        rendered: Result<T, RenderError>,
        volumes: &BTreeMap<String, Mount>,
        make: impl FnOnce(T, BTreeMap<String, VolumeMount>) -> U,
    ) -> Rendered<U> {
        let mut missing = BTreeSet::new();
        let mut mounts = BTreeMap::new();
        for (name, mount) in volumes {
            match self.facts.volumes.get(&(self.resolved.name.clone(), name.clone())) {
                Some(source) => {
                    let mounted = VolumeMount { source: source.clone(), read_only: mount.read_only };
                    mounts.insert(mount.path.clone(), mounted);
                }
                None => drop(missing.insert(Missing::Volume(name.clone()))),
            }
        }
        match rendered {
            Ok(rendered) if missing.is_empty() => return Rendered::Ready(Box::new(make(rendered, mounts))),
            Ok(_) => {}
            Err(RenderError::NoSecret(name)) => drop(missing.insert(Missing::Secret(name))),
            Err(RenderError::NoOutput(name)) => drop(missing.insert(Missing::Output(name))),
            Err(error) => return Rendered::Failed(error.to_string()),
        }
        Rendered::Waiting(missing)
    }

    fn config(&self, r: RenderedContainer, volumes: BTreeMap<String, VolumeMount>) -> ContainerConfig {
        ContainerConfig {
            name: ContainerName::new(&self.resolved.name, &r.name),
            image: r.image.to_string(),
            entrypoint: r.entrypoint.as_deref().map(words),
            command: r.command.as_deref().map(words),
            env: env(&r.env),
            secrets: r.secrets,
            files: files(&r.files),
            volumes,
            tmpfs: r.tmpfs,
            ports: r.ports.iter().map(port).collect(),
            user: r.user.map(|u| u.as_str().to_owned()),
            working_dir: r.working_dir,
            read_only: r.read_only,
            memory: r.memory,
            millicpus: r.cpus.map(|c| c.milli().into()),
            pids: r.pids.into(),
            cap_add: r.cap_add.into_iter().collect(),
            userns: match r.userns {
                model::Userns::Auto => container::Userns::Auto,
                model::Userns::Host => container::Userns::Host,
            },
            privileged: r.privileged,
            stop_signal: r.stop_signal,
            stop_timeout_ms: r.stop_timeout.as_millis().try_into().unwrap_or(u64::MAX),
        }
    }

    /// A one-off container: the step's command replaces the image's whole command line.
    fn one_off(&self, step: &RenderedStep, volumes: BTreeMap<String, VolumeMount>) -> ContainerConfig {
        let RenderedPlace::OneOff(RenderedOneOff { image, env: vars, secrets, files: given, user, .. }) =
            &step.place
        else {
            unreachable!("a step keeps its place when it is rendered");
        };
        ContainerConfig {
            name: ContainerName::new(&self.resolved.name, &step.name),
            image: image.to_string(),
            entrypoint: Some(words(&step.run)),
            command: None,
            env: env(vars),
            secrets: secrets.clone(),
            files: files(given),
            volumes,
            tmpfs: Vec::new(),
            ports: Vec::new(),
            user: user.as_ref().map(|u| u.as_str().to_owned()),
            working_dir: None,
            read_only: false,
            memory: None,
            millicpus: None,
            pids: model::DEFAULT_PIDS.into(),
            cap_add: Vec::new(),
            userns: container::Userns::Auto,
            privileged: false,
            stop_signal: None,
            stop_timeout_ms: model::DEFAULT_STOP_TIMEOUT.as_millis() as u64,
        }
    }
}

fn words(words: &[Text]) -> Vec<String> {
    words.iter().map(|word| word.expose().to_owned()).collect()
}

fn env(vars: &BTreeMap<String, Text>) -> BTreeMap<String, Secret> {
    vars.iter().map(|(name, value)| (name.clone(), Secret::new(value.expose()))).collect()
}

fn files(given: &BTreeMap<String, RenderedFile>) -> BTreeMap<String, FileConfig> {
    let file = |f: &RenderedFile| FileConfig {
        content: Secret::new(f.content.expose()),
        mode: f.mode,
        uid: f.owner.uid,
        gid: f.owner.gid,
    };
    given.iter().map(|(path, f)| (path.clone(), file(f))).collect()
}

fn port(port: &shape::Port) -> Port {
    Port {
        address: port.address,
        host: port.host,
        container: port.container,
        protocol: match port.protocol {
            shape::Protocol::Tcp => Protocol::Tcp,
            shape::Protocol::Udp => Protocol::Udp,
        },
    }
}

fn health_config(health: &RenderedHealth) -> HealthConfig {
    HealthConfig {
        probe: match &health.probe {
            RenderedProbe::Http(http) => Probe::Http { port: http.port, path: http.path.clone() },
            RenderedProbe::Tcp(port) => Probe::Tcp { port: *port },
            RenderedProbe::Command(run) => Probe::Command(words(run)),
        },
        interval: health.interval,
        timeout: health.timeout,
        retries: health.retries,
        start_period: health.start_period,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(settings: &str, facts: &Facts) -> Vec<String> {
        let settings = recipes::user_data::settings_only(settings).unwrap();
        host(&settings, "box".into(), facts).admin_keys
    }

    #[test]
    fn whoever_may_log_in_can_log_in() {
        let key = |name: &str| {
            format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvb2JhcmZvb2JhcmZvb2JhcmZvb2JhcmZvb2Jh {name}")
        };
        let own = format!("[box]\nadmins = [\"{}\"]\n", key("own"));
        let facts = Facts {
            provider_keys: vec![key("provider"), key("own")],
            offered_admins: vec![key("offered")],
            ..Facts::default()
        };
        assert_eq!(keys(&own, &facts), ["own", "provider", "offered"].map(key));
        // The provider's keys can be refused; whoever wrote a newer document that is not used cannot.
        let alone = own + "provider_keys = false\n";
        assert_eq!(keys(&alone, &facts), ["own", "offered"].map(key));
    }
}
