//! What a box takes of a volume, and that `explain` says the same of it.

use std::fs;
use std::path::Path;

use agent_metadata::network::Network;
use agent_metadata::{ExplainError, Explanation, Offer, Sources, explain, find};

/// DigitalOcean's name for its document in the root of a config drive.
const DROPLET: &str = "digitalocean_meta_data.json";
const METADATA: (&str, &str) = ("openstack/latest/meta_data.json", r#"{"uuid": "1"}"#);

/// What the box takes of a volume with these files, and what is explained of it.
fn both(files: &[(&str, &str)]) -> (Offer, Result<Explanation, ExplainError>) {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let volume = Some(root.path().to_owned());
    let sources = if root.path().join("openstack").exists() {
        Sources { config_drive: volume, ..Sources::default() }
    } else {
        Sources { nocloud: volume, ..Sources::default() }
    };
    (find(&sources).offer.unwrap(), explain(root.path()))
}

/// Their network, in which they must agree.
fn network(files: &[(&str, &str)]) -> Network {
    let (offer, explained) = both(files);
    let network = offer.network.unwrap_or_else(|| panic!("{:?}", offer.notes));
    assert_eq!(explained.unwrap().network.as_ref(), Some(&network), "{files:?}");
    network
}

#[test]
fn digitaloceans_own_document_counts_where_openstacks_has_no_network() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/document");
    let droplet = fs::read_to_string(corpus.join("digitalocean.json")).unwrap();
    let check = |network_data: Option<&str>, expect: &[&str]| {
        let mut files = vec![METADATA, (DROPLET, droplet.as_str())];
        files.extend(network_data.map(|content| ("openstack/latest/network_data.json", content)));
        let network = network(&files);
        let ids: Vec<&str> = network.links.iter().map(|link| link.id.as_str()).collect();
        assert_eq!(ids, expect, "{network_data:?}");
    };
    check(None, &["public0", "private0"]);
    check(Some("{}"), &["public0", "private0"]);
    check(Some(r#"{"links": [{"id": "a", "name": "eth0"}], "networks": []}"#), &["a"]);

    // The reserved IP is the provider's to translate: it arrives at the anchor address, which is the NIC's.
    let network = network(&[METADATA, (DROPLET, droplet.as_str())]);
    let addresses: Vec<String> = network.links[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["203.0.113.211/24", "2001:db8:0:100::7001/64", "10.17.0.7/16"]);
}

#[test]
fn a_document_of_digitaloceans_that_is_wrong_costs_the_box_its_network_alone() {
    let wrong = r#"{"interfaces": {"public": [{"mac": "none"}]}}"#;
    let (offer, explained) = both(&[METADATA, (DROPLET, wrong)]);
    assert_eq!((offer.instance_id.as_deref(), offer.network), (Some("1"), None));
    assert!(offer.notes[0].contains("interfaces.public[0].mac"), "{:?}", offer.notes);
    let error = explained.unwrap_err();
    assert!(matches!(&error, ExplainError::Wrong { path, .. } if path.ends_with(DROPLET)), "{error}");
}

#[test]
fn what_is_the_vendors_is_told_where_it_says_anything() {
    let drive = ["openstack/latest/vendor_data.json", "openstack/latest/vendor_data2.json"];
    let nocloud = (("meta-data", "instance-id: 1\n"), "vendor-data");
    let places = drive.map(|name| (METADATA, name)).into_iter().chain([nocloud]);
    let contents = [
        ("", false),
        (" \n", false),
        ("{}", false),
        ("null\n", false),
        ("{\"static\": {}}\n", false),
        ("[{\"a\": \"\"}]", false),
        ("{\"static\": {\"cloud-init\": \"#cloud-config\"}}", true),
        ("{\"a\": 0}", true),
        ("#cloud-config\n", true),
        ("{", true),
    ];
    for (metadata, name) in places {
        for (content, says) in contents {
            let (offer, explained) = both(&[metadata, (name, content)]);
            let file = name.rsplit('/').next().unwrap();
            let note = format!("`{file}` is the provider's and is ignored");
            assert_eq!(offer.notes, Vec::from_iter(says.then_some(note)), "{name}: {content:?}");
            assert_eq!(explained.unwrap().notes, offer.notes, "{name}: {content:?}");
        }
    }
}
