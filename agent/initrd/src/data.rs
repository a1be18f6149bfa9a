//! The data partition: checked, mounted as `/var`, grown.
//!
//! Invariant: it is never formatted here, nor repaired while its disk fails, and a box without it still boots.

use crate::check::{self, Checked};
use crate::console;
use crate::report::{Data, Report};
use crate::root;
use crate::watchdog::Watchdog;
use agent_system::files::{self, Access};
use agent_system::{reserve, resize};
use image_layout::{initrd, paths};
use std::path::{Path, PathBuf};

const UNAVAILABLE: &str = "data unavailable: nothing is kept; see `holdfast data check`";
const DISK_FAILS: &str = "the disk fails (I/O errors), and nothing was repaired: the box restarts when it works \
    again, and a repair now would lose what cannot be read";

/// Why there is no data: the kind of the event, and words.
struct Unavailable(&'static str, String);

impl From<String> for Unavailable {
    fn from(message: String) -> Unavailable {
        Unavailable("data-unavailable", message)
    }
}

/// Mounts data as `/var` of the root, or memory when that is impossible.
pub(crate) fn mount(device: Option<PathBuf>, watchdog: &mut Watchdog, report: &mut Report) -> Data {
    let mounted = device
        .ok_or_else(|| Unavailable::from("the disk has no data partition".to_owned()))
        .and_then(|device| mount_checked(&device, watchdog, report));
    match mounted {
        Ok(data) => data,
        Err(Unavailable(kind, message)) => {
            report.event(kind, format!("{message}; {UNAVAILABLE}"));
            if let Err(error) = root::mount_volatile() {
                console::give_up(&console::chain(&error));
            }
            Data::Unavailable
        }
    }
}

fn mount_checked(device: &Path, watchdog: &mut Watchdog, report: &mut Report) -> Result<Data, Unavailable> {
    files::create_dir_all(paths::RUN, Access::mode(0o755)).map_err(|e| console::chain(&e))?;
    let data = match check::check(device, watchdog) {
        Ok(Checked::Clean) => Data::Ok,
        Ok(Checked::Repaired) => {
            report.event("data-repaired", "the data file system had errors, which were repaired");
            Data::Repaired
        }
        Ok(Checked::Broken) => return Err("the data file system cannot be repaired".to_owned().into()),
        Ok(Checked::DiskFails) => return Err(Unavailable(initrd::DISK_FAILS, DISK_FAILS.into())),
        Err(error) => return Err(format!("e2fsck cannot be run: {error}").into()),
    };
    mount_reserved(device, report)?;
    watchdog.feed();
    match resize::grow_ext4(device, Path::new(root::var())) {
        Ok(true) => {
            console::info("the data file system was grown to the disk's end");
            // How much is kept back, for the box and for metadata, is decided before the mount and at it: by the
            // old size, now. Space that containers may fill today would be missing at the next boot, to them and
            // to the box.
            match root::unmount_data() {
                Ok(()) => mount_reserved(device, report)?,
                Err(error) => report.event("data-not-mounted-anew", console::chain(&error)),
            }
        }
        Ok(false) => {}
        Err(error) => report.event("data-not-grown", console::chain(&error)),
    }
    forget_time(report);
    Ok(data)
}

/// Mounts it with as much kept back as its size asks for. A box without that still boots.
fn mount_reserved(device: &Path, report: &mut Report) -> Result<(), String> {
    if let Err(error) = reserve::set(device) {
        report.event("data-without-reserve", console::chain(&error));
    }
    root::mount_data(device).map_err(|e| console::chain(&e))
}

/// Removes what timesyncd noted of the clock: no time server may have set it, and it may have been wrong by years.
/// The root's init would go on from there; without it, it starts from the machine's clock and the image's build.
fn forget_time(report: &mut Report) {
    if let Err(error) = files::remove(Path::new(root::var()).join("lib/systemd/timesync/clock")) {
        report.event("clock", console::chain(&error));
    }
}
