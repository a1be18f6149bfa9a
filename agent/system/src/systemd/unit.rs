//! A transient unit as data: what `StartTransientUnit` is given.
//!
//! Invariant: a property has the D-Bus type that systemd expects, because its key says which. Names are
//! those of `org.freedesktop.systemd1(5)`. Absent: properties that nobody here sets.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use zbus::{Fd, Variant};

/// Makes an enum whose variants are property names.
macro_rules! properties {
    ($(#[$meta:meta])* $kind:ident: $($name:ident)*) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, clippy::upper_case_acronyms)]
        pub enum $kind { $($name),* }
        impl $kind {
            pub(super) fn name(self) -> &'static str {
                match self { $($kind::$name => stringify!($name)),* }
            }
        }
    };
}

properties! {
    /// Properties that hold text (`s`).
    Text: CollectMode DelegateSubgroup Description Group KeyringMode KillMode NetworkNamespacePath
        NotifyAccess OOMPolicy ProcSubset ProtectHome ProtectProc ProtectSystem Restart RootDirectory Slice
        StandardError StandardInput StandardOutput SyslogIdentifier Type User WorkingDirectory
}
properties! {
    /// Properties that are on or off (`b`).
    Flag: AddRef DefaultDependencies Delegate DynamicUser LockPersonality MemoryDenyWriteExecute
        NoNewPrivileges PrivateDevices PrivateIPC PrivateMounts PrivateNetwork PrivateTmp PrivateUsers
        ProtectClock ProtectControlGroups ProtectHostname ProtectKernelLogs ProtectKernelModules
        ProtectKernelTunables RemainAfterExit RestrictRealtime RestrictSUIDSGID SendSIGKILL SyslogLevelPrefix
}
properties! {
    /// Properties that are 64-bit numbers (`t`); `u64::MAX` means no limit, or everything.
    Number: AmbientCapabilities CPUWeight CapabilityBoundingSet LimitAS LimitCORE LimitFSIZE LimitNOFILE
        LimitNPROC MemoryHigh MemoryMax MemorySwapMax RestrictNamespaces TasksMax
}
properties! {
    /// Properties that are 32-bit numbers (`i`).
    Int: KillSignal Nice OOMScoreAdjust
}
properties! {
    /// Properties that are spans of time (`t`, microseconds).
    Span: CPUQuotaPerSecUSec RestartUSec RuntimeMaxUSec TimeoutStartUSec TimeoutStopUSec WatchdogUSec
}
properties! {
    /// Properties that are lists of text (`as`).
    List: After Before BindsTo Conflicts Environment InaccessiblePaths PartOf ReadOnlyPaths ReadWritePaths
        Requires SystemCallArchitectures UnsetEnvironment Wants
}
properties! {
    /// Properties that are lists of text to allow, or to refuse (`(bas)`).
    Filter: RestrictAddressFamilies SystemCallFilter
}
properties! {
    /// Descriptors that become the process's standard streams (`h`).
    Stream: StandardErrorFileDescriptor StandardInputFileDescriptor StandardOutputFileDescriptor
}

/// A unit to start: its name with suffix, and its properties in order.
#[derive(Debug)]
pub struct TransientUnit {
    pub(super) name: String,
    pub(super) properties: Vec<(&'static str, Variant<'static>)>,
}

impl TransientUnit {
    /// A service `name` (with `.service`) that runs `argv`; its first word is an absolute path.
    pub fn service(name: impl Into<String>, argv: Vec<String>) -> TransientUnit {
        let program = argv.first().cloned().unwrap_or_default();
        let exec = vec![(program, argv, false)];
        TransientUnit { name: name.into(), properties: vec![("ExecStart", exec.into())] }
    }

    /// The unit's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets a property that holds text.
    pub fn text(self, key: Text, value: impl Into<String>) -> TransientUnit {
        self.with(key.name(), value.into())
    }

    /// Sets a property that is on or off.
    pub fn flag(self, key: Flag, value: bool) -> TransientUnit {
        self.with(key.name(), value)
    }

    /// Sets a property that is a number.
    pub fn number(self, key: Number, value: u64) -> TransientUnit {
        self.with(key.name(), value)
    }

    /// Sets a property that is a small number.
    pub fn int(self, key: Int, value: i32) -> TransientUnit {
        self.with(key.name(), value)
    }

    /// Sets a property that is a span of time.
    pub fn span(self, key: Span, value: Duration) -> TransientUnit {
        self.with(key.name(), u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
    }

    /// Sets a property that is a list.
    pub fn list<S: Into<String>>(self, key: List, values: impl IntoIterator<Item = S>) -> TransientUnit {
        self.with(key.name(), values.into_iter().map(Into::into).collect::<Vec<String>>())
    }

    /// Sets a filter that lets only `values` through; `@` groups are systemd's.
    pub fn allow<S: Into<String>>(self, key: Filter, values: impl IntoIterator<Item = S>) -> TransientUnit {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        self.with(key.name(), (true, values))
    }

    /// Gives the process a standard stream. With one of the three given, set [`Text::StandardInput`] and
    /// the like for the others.
    pub fn stream(self, key: Stream, descriptor: OwnedFd) -> TransientUnit {
        let unit = self.with(key.name(), Fd::from(descriptor));
        match key {
            // The descriptor comes first. But by its words systemd tells whether both outputs are the same
            // place, and without one it takes standard output for the journal's.
            Stream::StandardOutputFileDescriptor => unit.text(Text::StandardOutput, "null"),
            Stream::StandardErrorFileDescriptor | Stream::StandardInputFileDescriptor => unit,
        }
    }

    /// Exit codes and signals that count as success beside 0.
    pub fn success(self, codes: Vec<i32>, signals: Vec<i32>) -> TransientUnit {
        self.with("SuccessExitStatus", (codes, signals))
    }

    /// Fields that journald adds to each line, `NAME=value`.
    pub fn journal_fields<S: Into<String>>(self, fields: impl IntoIterator<Item = S>) -> TransientUnit {
        let fields: Vec<Vec<u8>> = fields.into_iter().map(|f| f.into().into_bytes()).collect();
        self.with("LogExtraFields", fields)
    }

    /// Credentials that are handed over as files, name and content.
    pub fn credentials(self, credentials: Vec<(String, Vec<u8>)>) -> TransientUnit {
        self.with("SetCredential", credentials)
    }

    /// Lets nothing through to or from an address.
    pub fn deny_address(self, address: Ipv4Addr) -> TransientUnit {
        self.with("IPAddressDeny", vec![(nix::libc::AF_INET, address.octets().to_vec(), 32u32)])
    }

    /// Rights that the process's new files do not get, as `0o077`.
    pub fn umask(self, mask: u32) -> TransientUnit {
        self.with("UMask", mask)
    }

    /// Devices that may be opened, whoever owns them: path, and `r`, `w` or both.
    pub fn allow_devices(self, devices: Vec<(String, String)>) -> TransientUnit {
        self.with("DeviceAllow", devices)
    }

    /// Files or devices that systemd opens and hands over: path, name for `LISTEN_FDNAMES`, and whether only to
    /// be read.
    pub fn open_files(self, files: Vec<(String, String, bool)>) -> TransientUnit {
        let files: Vec<(String, String, u64)> =
            files.into_iter().map(|(path, name, read_only)| (path, name, u64::from(read_only))).collect();
        self.with("OpenFile", files)
    }

    fn with(mut self, name: &'static str, value: impl Into<Variant<'static>>) -> TransientUnit {
        self.properties.push((name, value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_have_the_types_that_systemd_expects() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let unit = TransientUnit::service("x.service", vec!["/bin/x".into(), "y".into()])
            .text(Text::Type, "notify")
            .flag(Flag::Delegate, true)
            .number(Number::MemoryMax, 1)
            .int(Int::OOMScoreAdjust, -5)
            .span(Span::TimeoutStopUSec, Duration::from_secs(2))
            .list(List::Environment, ["A=b"])
            .allow(Filter::SystemCallFilter, ["@system-service"])
            .stream(Stream::StandardInputFileDescriptor, null.into())
            .success(vec![143], vec![])
            .journal_fields(["HOLDFAST_INSTANCE=a"])
            .credentials(vec![("c".into(), b"1".to_vec())])
            .deny_address(Ipv4Addr::new(169, 254, 169, 254))
            .umask(0o077)
            .open_files(vec![("/dev/vda1".into(), "a".into(), true)])
            .allow_devices(vec![("/dev/vda1".into(), "r".into())]);
        let types: Vec<String> =
            unit.properties.iter().map(|(n, v)| format!("{n} {}", v.value_signature())).collect();
        assert_eq!(
            types,
            [
                "ExecStart a(sasb)",
                "Type s",
                "Delegate b",
                "MemoryMax t",
                "OOMScoreAdjust i",
                "TimeoutStopUSec t",
                "Environment as",
                "SystemCallFilter (bas)",
                "StandardInputFileDescriptor h",
                "SuccessExitStatus (aiai)",
                "LogExtraFields aay",
                "SetCredential a(say)",
                "IPAddressDeny a(iayu)",
                "UMask u",
                "OpenFile a(sst)",
                "DeviceAllow a(ss)",
            ]
        );
        assert_eq!(unit.properties[5].1, Variant::U64(2_000_000));
    }

    #[test]
    fn standard_error_does_not_follow_standard_output_into_a_descriptor() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let unit = TransientUnit::service("x.service", vec!["/bin/x".into()])
            .text(Text::StandardError, "journal")
            .stream(Stream::StandardOutputFileDescriptor, null.into());
        let output = unit.properties.iter().rfind(|(name, _)| *name == "StandardOutput");
        assert_eq!(output.map(|(_, value)| value), Some(&Variant::from("null")));
    }
}
