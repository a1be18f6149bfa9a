//! Why an update is not even looked for, and what may help.

use agent_update::{UpdateError, UpdateErrorKind};

/// What is missing before a release can be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// User-data has no source.
    #[error("no update source is set: `[box.update]` has no `url`")]
    Source,
    /// The image trusts nobody.
    #[error("this image follows no publisher: it was built without `--update-root`")]
    Publisher,
    /// Whether metadata has expired cannot be told.
    #[error("no time server has set the clock, and releases are judged by a set clock only")]
    Clock,
}

/// What may help an admin who asked for something that came to nothing.
pub(crate) fn hint(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return Some(match refusal {
            Refusal::Source => "give `url` in [box.update] of user-data, and `holdfast apply` it",
            Refusal::Publisher => "build the image with `holdfast-image build --update-root root.json`",
            Refusal::Clock => "`ntp` in [box] of user-data names one that the box can reach",
        });
    }
    match error.downcast_ref::<UpdateError>()?.kind {
        UpdateErrorKind::Expired => {
            Some("the publisher runs `holdfast-image release refresh` and publishes again")
        }
        UpdateErrorKind::Unreachable => {
            Some("see that `url` in [box.update] and the box's network are right: `holdfast status`")
        }
        UpdateErrorKind::Missing => Some("see that `url` and `channel` in [box.update] are right"),
        _ => None,
    }
}
