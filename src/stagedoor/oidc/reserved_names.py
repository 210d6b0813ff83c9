"""User names that people of an identity provider do not get at their first sign-in. Pure.

A user's name in Stagedoor is an account's name elsewhere: servers that trust the user CA accept the
certificate of `root` as root, and `ssh app01@gateway` means an app. With many providers people choose
their own names, so only an administrator can assign these (`stagedoor user add`).
"""

from collections.abc import Collection, Iterable

from stagedoor.model.target import Target
from stagedoor.wire.target import may_name_app

# Debian's base-passwd, its common packages, and what Red Hat's setup and Alpine have besides.
_SYSTEM = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody
adm halt shutdown operator ftp sudo wheel staff shadow disk tty users nogroup nfsnobody
messagebus dbus polkitd sshd syslog rsyslog uuidd tss tcpdump avahi avahi-autoipd colord cups-pk-helper
dnsmasq geoclue gdm lightdm sddm kernoops pulse rtkit saned speech-dispatcher usbmux whoopsie
hplip fwupd-refresh landscape pollinate lxd statd rpc rpcuser ntp ntpd ntpsec chrony cron at
dhcpcd named bind unbound pdns knot nscd nslcd sssd openldap ldap slapd dirsrv kdc krb5 radius freerad
libvirt libvirt-qemu libvirt-dbus qemu kvm vboxadd abrt cockpit-ws cockpit-wsinstance setroubleshoot
"""
# Accounts of the usual cloud images, most of which may become root by sudo(8).
_CLOUD = """
ubuntu debian ec2-user admin administrator centos rocky almalinux fedora redhat rhel cloud-user cloud-init
opc azureuser core coreos amazon ssm-user cwagent google arch alpine gentoo suse opensuse sles freebsd
openbsd netbsd bitnami vagrant packer pi raspberry cirros vyos nixos photon flatcar bottlerocket
"""
# Databases, queues and search.
_DATA = """
postgres postgresql pgbouncer patroni barman mysql mariadb galera mongodb mongod redis valkey keydb
memcache memcached rabbitmq kafka zookeeper activemq nats mosquitto cassandra scylla clickhouse influxdb
elasticsearch opensearch kibana logstash solr neo4j couchdb arangodb cockroach oracle grid db2inst1
mssql sybase informix firebird minio ceph gluster
"""
# The web, mail, files and remote access.
_NETWORK = """
www web http apache apache2 httpd nginx caddy traefik haproxy varnish squid tomcat jetty jboss wildfly
php php-fpm uwsgi gunicorn node postfix postdrop exim dovecot dovenull cyrus opendkim opendmarc clamav amavis
spamd mailman sendmail smmsp smmta vmail postmaster ftpuser sftp proftpd vsftpd tftp samba rsync rsyncd
openvpn wireguard strongswan stunnel guacamole guacd bacula borg restic
"""
# Repositories, builds, deployment, containers, secrets and monitoring.
_TOOLS = """
git gitlab gitlab-runner gitea forgejo gogs gerrit svn hg cvs jenkins teamcity bamboo buildkite
buildkite-agent runner actions-runner drone concourse builder build deploy deployer deployment
ansible puppet chef salt terraform docker dockremap containerd podman buildah kube kubernetes k8s etcd
consul vault nomad boundary teleport keycloak prometheus alertmanager grafana loki tempo telegraf
collectd node_exporter node-exporter zabbix zabbixsrv zabbix_agentd nagios nrpe icinga munin sensu datadog
dd-agent newrelic splunk splunkfwd fluentd fluent-bit td-agent vector filebeat metricbeat ossec wazuh
"""
# Names that people expect of a machine or its administrator; and this program's own account.
_ROLES = """
toor su super superuser sysadmin system service support helpdesk security maintenance anonymous guest
user username test tester demo app apps application server default public everybody stagedoor
"""
SYSTEM_ACCOUNTS = frozenset("".join((_SYSTEM, _CLOUD, _DATA, _NETWORK, _TOOLS, _ROLES)).split())
"""Account names of Unix systems and of common services. No list is complete: `sso.reserved_names` adds
the accounts of an organisation's own servers."""

_SYSTEM_PREFIXES = ("_", "systemd-")
"""Debian's policy (§9.2.1) and macOS begin the names of system accounts with the first, systemd with
the second."""


def explain_reserved(name: str, own: Collection[str], apps: Iterable[Target]) -> str | None:
    """Return why only an administrator can assign `name`, as the end of a sentence about it, or None.

    `name` is a valid user name, and so lower-case ASCII. `own` are the names in `sso.reserved_names`;
    `apps` are the existing apps.
    """
    if name in SYSTEM_ACCOUNTS or name.startswith(_SYSTEM_PREFIXES):
        return "is the name of a system account"
    if name in own:
        return "is in sso.reserved_names"
    if may_name_app(name, apps):
        return "is the name of an app"
    return None
