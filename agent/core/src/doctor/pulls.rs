//! Images that could not be had.

use super::{Facts, Finding, Severity, Unfetched, Why};
use crate::action::Action;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let failures = facts.memory.failures.values().filter_map(|failure| match &failure.action {
        Action::FetchImage { reference, .. } | Action::AdoptImage { reference } => Some((reference, failure)),
        _ => None,
    });
    let found = failures.filter_map(|(reference, failure)| {
        let users = users(facts, reference);
        let subject = users.iter().map(|(instance, _)| instance.as_str()).collect::<Vec<_>>().join(", ");
        let container = users.into_iter().next()?.1;
        let cause = facts.seen.unfetched.get(reference).cloned();
        // What is stored, and not fetched, fails for a reason of the box's own.
        let full = failure.error.contains("No space left on device");
        let cause = cause.unwrap_or_else(|| Unfetched {
            why: if full { Why::NoRoom } else { Why::Unfit },
            message: failure.error.clone(),
            hint: None,
        });
        let message = format!("{}: {}", failure.action, cause.message);
        let finding = Finding::new(code(cause.why), Severity::Degraded, subject, message);
        let hint = cause.hint.iter().filter(|_| cause.why != Why::NoRoom);
        let finding = hint.fold(finding, |finding, hint| finding.act(hint.clone()));
        Some(next(finding, cause.why, reference, &container).run("holdfast apply", "tries again now"))
    });
    found.collect()
}

/// Instances that use a reference, each with the table of the document that names it.
fn users(facts: &Facts<'_>, reference: &str) -> Vec<(String, String)> {
    let wanted = facts.desired.instances.iter().filter(|(_, wanted)| wanted.references().contains(reference));
    let table = |(name, wanted): (&String, &crate::desired::InstanceDesired)| {
        let container = wanted.containers.iter().find(|(_, container)| container.image == reference);
        let table = match container {
            Some((container, _)) => format!("recipe.containers.{container}"),
            None => "recipe.steps.NAME".to_owned(),
        };
        (name.clone(), table)
    };
    wanted.map(table).collect()
}

fn code(why: Why) -> &'static str {
    match why {
        Why::Name => "image-name-unknown",
        Why::Unreachable => "image-unreachable",
        Why::Certificate => "image-certificate",
        Why::Credentials => "image-credentials",
        Why::Missing => "image-missing",
        Why::NoRoom => "image-no-room",
        Why::Unfit => "image-unfit",
    }
}

fn next(finding: Finding, why: Why, reference: &str, table: &str) -> Finding {
    let host = reference.split('/').next().unwrap_or_default();
    let registry = format!("[[box.registry]]\nhost = \"{host}\"");
    let image =
        |finding: Finding, why: &str| finding.write(format!("[{table}]\nimage = \"{reference}\""), why);
    match why {
        Why::Name => {
            image(finding, "with a registry whose name is right: the name servers know none of this name")
        }
        Why::Unreachable => finding.act(format!(
            "see that {host} runs, and that the provider's packet filter lets the box reach it"
        )),
        Why::Certificate => finding.write(
            format!("{registry}\nca = \"\"\"-----BEGIN CERTIFICATE-----…\"\"\""),
            "names the CA that its certificate comes from",
        ),
        Why::Credentials => finding.write(
            format!("{registry}\nusername = \"USER\"\npassword = \"…\""),
            "logs in as someone who may pull it",
        ),
        Why::Missing => image(finding, "with a name and a tag that the registry has"),
        Why::NoRoom => finding.run("holdfast images prune", "removes images that nothing uses"),
        Why::Unfit => finding.run("holdfast events", "says more of what happened"),
    }
}
