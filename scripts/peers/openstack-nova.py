"""Nova: its two interfaces to web servers, its scheduler and conductor, and a computer that only pretends.

They run in one process, put together from what Nova's own functional tests are made of: databases in memory, a
message queue without a broker, a hypervisor and a network that are feigned. Who asks is Keystone's to say, and
images are Glance's.

openstack-nova.py CONFIGURATION API-PORT METADATA-PORT
"""

import copy
import os
import sys
import threading
import unittest
import warnings

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "true"
configuration, api_port, metadata_port = sys.argv[1:]
# Options of Nova's would be looked for in them.
del sys.argv[1:]

# Its package says what threads are, before anything else may.
from nova.tests.functional import fixtures as functional  # noqa: E402
from nova.tests import fixtures  # noqa: E402
import nova.config  # noqa: E402
import nova.test  # noqa: E402
from nova.api import wsgi  # noqa: E402
import waitress  # noqa: E402

parse = nova.config.parse_args


def parse_configuration(argv, default_config_files=None, **more):
    parse(argv, default_config_files=[configuration], **more)


nova.config.parse_args = parse_configuration


class Network(fixtures.NeutronFixture):
    """One network that every project may use; the fixture's own belongs to the fixtures' project."""

    def setUp(self):
        super().setUp()
        self._networks = {id: {**network, "shared": True} for id, network in self._networks.items()}

    def create_port(self, body):
        port = self._ports[super().create_port(body)["port"]["id"]]
        port["tenant_id"] = port["project_id"] = body["port"]["tenant_id"]
        return {"port": copy.deepcopy(port)}


class Serve(nova.test.TestCase):
    REQUIRES_LOCKING = True

    def test_serve(self):
        # The fixtures make errors of warnings, which newer libraries than theirs give.
        warnings.simplefilter("ignore")
        self.useFixture(functional.PlacementFixture())
        self.useFixture(Network(self))
        self.useFixture(fixtures.RealPolicyFixture())
        self.useFixture(fixtures.NotificationFixture(self))
        self.flags(transport_url=self.cell_mappings["cell1"].transport_url)
        for service in ["conductor", "scheduler", "compute"]:
            self.start_service(service)
        listeners = []
        for name, port in [("osapi_compute", api_port), ("metadata", metadata_port)]:
            application = wsgi.Loader().load_app(name)
            listeners.append(threading.Thread(
                target=waitress.serve, args=(application,), kwargs={"listen": f"127.0.0.1:{port}", "threads": 1},
                daemon=True))
        for listener in listeners:
            listener.start()
        for listener in listeners:
            listener.join()


unittest.main(argv=["nova", "Serve.test_serve"])
