//! A disk that fails or is slow, from one moment to another: filters of QEMU's between the disk that boots and its
//! file.

use anyhow::Result;
use serde_json::{Value, json};

use crate::machine::Machine;

/// Requests that end with an I/O error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// Reads of the sector with this byte of the disk.
    Read(u64),
    /// Writes of the sector with this byte of the disk.
    Write(u64),
    /// All that would change the disk. It can be flushed, which QEMU does itself when the disk is mended.
    Writes,
    /// All reads.
    Reads,
}

impl DiskFault {
    /// Rules of `blkdebug`.
    fn rules(self) -> Vec<Value> {
        let rule = |kind: &str, at: Option<u64>| {
            let mut rule = json!({ "event": "none", "iotype": kind, "errno": 5 });
            if let Some(at) = at {
                rule["sector"] = (at / 512).into();
            }
            rule
        };
        match self {
            DiskFault::Read(at) => vec![rule("read", Some(at))],
            DiskFault::Write(at) => vec![rule("write", Some(at))],
            DiskFault::Reads => vec![rule("read", None)],
            DiskFault::Writes => ["write", "write-zeroes", "discard"].map(|kind| rule(kind, None)).into(),
        }
    }
}

impl Machine {
    /// From now on these requests fail, and no others.
    pub fn fail_disk(&mut self, faults: &[DiskFault]) -> Result<()> {
        let rules: Vec<Value> = faults.iter().flat_map(|fault| fault.rules()).collect();
        self.faults += 1;
        let node = format!("faulty{}", self.faults);
        let file = format!("file{}", self.boots);
        let filter = json!({ "driver": "blkdebug", "node-name": node, "image": file, "inject-error": rules });
        self.qmp("blockdev-add", filter)?;
        self.put_between(&node)
    }

    /// The disk works again.
    pub fn mend_disk(&mut self) -> Result<()> {
        let file = format!("file{}", self.boots);
        self.put_between(&file)
    }

    /// The disk does so many requests a second from now on; 0 is no limit.
    pub fn slow_disk(&mut self, requests: u32) -> Result<()> {
        let mut limits = json!({ "device": format!("disk{}", self.boots), "iops": requests });
        for name in ["bps", "bps_rd", "bps_wr", "iops_rd", "iops_wr"] {
            limits[name] = 0.into();
        }
        self.qmp("block_set_io_throttle", limits).map(drop)
    }

    fn put_between(&mut self, node: &str) -> Result<()> {
        let image = format!("image{}", self.boots);
        let options = json!({ "driver": "raw", "node-name": image, "discard": "unmap", "file": node });
        self.qmp("blockdev-reopen", json!({ "options": [options] })).map(drop)
    }
}
