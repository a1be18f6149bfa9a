//! The command line of QEMU for a machine that runs an image.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine};

/// How user-data reaches the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Channel {
    /// A volume labelled `cidata`.
    Nocloud,
    /// A volume labelled `config-2`.
    ConfigDrive,
    /// QEMU's firmware configuration.
    FwCfg,
    /// An SMBIOS string that systemd takes as a credential.
    Smbios,
}

/// What starts the boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

/// Most bytes of user-data that are handed over by SMBIOS: firmware cuts larger tables.
pub const SMBIOS_LIMIT: usize = 12 * 1024;

/// A port of the box made reachable: `[ADDRESS:]HOST:GUEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where QEMU listens; loopback if absent.
    pub address: Option<String>,
    /// Port there.
    pub host: u16,
    /// Port of the box.
    pub guest: u16,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(format!("`{text}` is not a port; write it like 8080:80")),
        };
        match parts[..] {
            [host, guest] => Ok(Forward { address: None, host: port(host)?, guest: port(guest)? }),
            [address, host, guest] => {
                Ok(Forward { address: Some(address.to_owned()), host: port(host)?, guest: port(guest)? })
            }
            _ => Err(format!("`{text}` is not [ADDRESS:]HOST:GUEST; write it like 8080:80")),
        }
    }
}

/// Memory in MiB: `512M`, `1G`, or a plain number of MiB.
pub fn memory(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not an amount of memory; write it like 512M or 1G");
    let (number, factor) = match text.strip_suffix(['G', 'g']) {
        Some(number) => (number, 1024),
        None => (text.trim_end_matches(['M', 'm']), 1),
    };
    let amount = number.parse::<u64>().map_err(|_| wrong())?.checked_mul(factor).ok_or_else(wrong)?;
    if (64..=1024 * 1024).contains(&amount) { Ok(amount) } else { Err(wrong()) }
}

/// User-data as the channel needs it.
#[derive(Clone, Debug)]
pub enum Seed {
    /// A file with a volume.
    Volume(PathBuf),
    /// A file, for fw_cfg.
    File(PathBuf),
    /// The bytes, for SMBIOS.
    Bytes(Vec<u8>),
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Whether KVM runs it; else TCG.
    pub kvm: bool,
    /// MiB.
    pub memory: u64,
    /// Processors.
    pub cpus: u32,
    /// The disk, qcow2.
    pub disk: PathBuf,
    /// OVMF's code and this machine's variables; BIOS without them.
    pub uefi: Option<(PathBuf, PathBuf)>,
    /// User-data.
    pub seed: Option<Seed>,
    /// Reachable ports.
    pub forwards: Vec<Forward>,
    /// Where QMP listens.
    pub qmp: Option<PathBuf>,
}

impl Machine {
    /// QEMU's arguments: console on standard streams, nothing on a screen.
    pub fn arguments(&self) -> Vec<String> {
        let mut args = Args(Vec::new());
        let accelerator = if self.kvm { "kvm" } else { "tcg,thread=multi" };
        args.pair("-accel", accelerator).pair("-machine", "q35").pair("-cpu", "max");
        args.pair("-smp", self.cpus.to_string()).pair("-m", self.memory.to_string());
        args.one("-nodefaults").pair("-display", "none").pair("-monitor", "none");
        args.pair("-chardev", "stdio,id=console,signal=on").pair("-serial", "chardev:console");
        args.one("-no-user-config").pair("-device", "virtio-rng-pci");
        args.pair("-device", "i6300esb").pair("-action", "watchdog=reset");
        args.drive("disk", &self.disk, "format=qcow2,discard=unmap");
        if let Some((code, variables)) = &self.uefi {
            args.pair("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={}", escape(code)));
            args.pair("-drive", format!("if=pflash,unit=1,format=raw,file={}", escape(variables)));
        }
        match &self.seed {
            Some(Seed::Volume(path)) => args.drive("seed", path, "format=raw,readonly=on"),
            Some(Seed::File(path)) => {
                args.pair("-fw_cfg", format!("name=opt/holdfast/user-data,file={}", escape(path)));
            }
            Some(Seed::Bytes(bytes)) => {
                let encoded = BASE64_STANDARD.encode(bytes);
                let credential = "io.systemd.credential.binary:holdfast.user-data";
                args.pair("-smbios", format!("type=11,value={credential}={encoded}"));
            }
            None => {}
        }
        let mut network = "user,id=net".to_owned();
        for forward in &self.forwards {
            let address = forward.address.as_deref().unwrap_or("127.0.0.1");
            network.push_str(&format!(",hostfwd=tcp:{address}:{}-:{}", forward.host, forward.guest));
        }
        args.pair("-netdev", network).pair("-device", "virtio-net-pci,netdev=net,romfile=");
        if let Some(qmp) = &self.qmp {
            args.pair("-qmp", format!("unix:{},server=on,wait=off", escape(qmp)));
        }
        args.0
    }
}

struct Args(Vec<String>);

impl Args {
    fn one(&mut self, argument: impl Into<String>) -> &mut Self {
        self.0.push(argument.into());
        self
    }

    fn pair(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.one(name).one(value)
    }

    fn drive(&mut self, id: &str, path: &Path, options: &str) {
        self.pair("-drive", format!("if=none,id={id},file={},{options}", escape(path)));
        self.pair("-device", format!("virtio-blk-pci,drive={id}"));
    }
}

/// A comma in a value of QEMU's options is written twice.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_and_memory_are_read() {
        let forward = |address: Option<&str>, host, guest| {
            Ok(Forward { address: address.map(str::to_owned), host, guest })
        };
        for (text, expect) in [
            ("8080:80", forward(None, 8080, 80)),
            ("0.0.0.0:8080:80", forward(Some("0.0.0.0"), 8080, 80)),
            ("0:80", Err("`0` is not a port; write it like 8080:80".to_owned())),
            ("80", Err("`80` is not [ADDRESS:]HOST:GUEST; write it like 8080:80".to_owned())),
        ] {
            assert_eq!(text.parse::<Forward>(), expect);
        }
        assert_eq!([memory("512M"), memory("1G"), memory("192")], [Ok(512), Ok(1024), Ok(192)]);
        for text in ["", "1T", "-1", "1", "99999999999999999999G", "18446744073709551615G"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_channel_and_firmware_is_in_the_arguments() {
        let machine = Machine {
            kvm: false,
            memory: 512,
            cpus: 2,
            disk: "/tmp/a,b.qcow2".into(),
            uefi: None,
            seed: None,
            forwards: vec!["8080:80".parse().unwrap()],
            qmp: None,
        };
        let line = |machine: &Machine| machine.arguments().join(" ");
        let plain = line(&machine);
        assert!(plain.contains("-accel tcg,thread=multi"));
        assert!(plain.contains("file=/tmp/a,,b.qcow2,"));
        assert!(plain.contains("hostfwd=tcp:127.0.0.1:8080-:80"));
        let seeded = |seed| line(&Machine { seed: Some(seed), ..machine.clone() });
        assert!(seeded(Seed::Volume("/s".into())).contains("id=seed,file=/s,format=raw,readonly=on"));
        assert!(seeded(Seed::File("/f".into())).contains("-fw_cfg name=opt/holdfast/user-data,file=/f"));
        assert!(seeded(Seed::Bytes(b"hi".to_vec())).contains("holdfast.user-data=aGk="));
        let uefi = Machine { uefi: Some(("/code".into(), "/vars".into())), kvm: true, ..machine.clone() };
        assert!(line(&uefi).contains("if=pflash,unit=1,format=raw,file=/vars"));
        assert!(line(&uefi).contains("-accel kvm"));
    }
}
