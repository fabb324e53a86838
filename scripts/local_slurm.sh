#!/usr/bin/env bash
# Start and stop a SLURM of two nodes on this machine, for `make test-slurm`: scripts/local_slurm.sh up FOLDER; … ; scripts/local_slurm.sh down FOLDER
# Needs root and Debian's slurm-wlm and munge. Configuration, keys, sockets and logs stay in FOLDER, all traffic on 127.0.0.1; /etc/slurm and
# a running munge are not touched. While SLURM is up, /etc/hosts has one more line, because ranks find the first one by the name of its node.
# Clients need SLURM_CONF=FOLDER/slurm.conf.
set -euo pipefail
[[ $# -eq 2 && $1 =~ ^(up|down)$ ]] || { echo "usage: $0 up|down FOLDER" >&2; exit 2; }
mkdir -p "$2"
home=$(cd "$2" && pwd)
export SLURM_CONF=$home/slurm.conf
hosts_line="127.0.0.1 node1 node2  # scripts/local_slurm.sh"

down() {
    [[ -f $home/slurmctld.pid ]] && scancel --user=root 2>/dev/null && sleep 1
    local ids=()
    for daemon in slurmd.node1 slurmd.node2 slurmctld munged; do
        [[ -f $home/$daemon.pid ]] && ids+=("$(cat "$home/$daemon.pid")")
        rm -f "$home/$daemon.pid"
    done
    end "${ids[@]}"
    if grep -qxF "$hosts_line" /etc/hosts; then
        rest=$(grep -vxF "$hosts_line" /etc/hosts && echo .) # the dot keeps trailing newlines
        printf %s "${rest%.}" >/etc/hosts                    # not `sed -i`: in a container /etc/hosts is a mount, which cannot be replaced by another file
    fi
    return 0
}

end() { # end the processes with these ids: SIGTERM first, then SIGKILL
    for signal in TERM KILL; do
        for id in "$@"; do kill -s $signal "$id" 2>/dev/null || true; done
        for _ in $(seq 80); do
            for id in "$@"; do kill -0 "$id" 2>/dev/null && sleep 0.1 && continue 2; done
            return 0
        done
    done
}

configuration() {
    cat <<CONF
ClusterName=local
SlurmctldHost=$(hostname -s)(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=16817
SrunPortRange=16900-16999
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket=$home/munge.socket,cred_expire=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool.%n
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.%n.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=60
KillWait=30
MinJobAge=3600
MpiDefault=none
NodeName=node[1-2] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=8 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
PartitionName=low Nodes=node1,node2 PriorityTier=1 GraceTime=60 State=UP
PartitionName=high Nodes=node1,node2 PriorityTier=10 State=UP
CONF
}

up() {
    down
    trap 'echo "SLURM did not come up; its logs: $home" >&2; down' EXIT
    rm -rf "$home"/{state,spool.*,munge.*}
    mkdir -p "$home"/{state,spool.node1,spool.node2}
    configuration >"$SLURM_CONF"
    chmod 755 "$home"
    (umask 077 && head -c 1024 /dev/urandom >"$home/munge.key")
    munged --key-file="$home/munge.key" --socket="$home/munge.socket" --pid-file="$home/munged.pid" \
        --log-file="$home/munged.log" --seed-file="$home/munge.seed"
    echo "$hosts_line" >>/etc/hosts
    slurmctld
    for node in node1 node2; do slurmd -N "$node"; done
    for _ in $(seq 60); do
        [[ $(sinfo --noheader --partition=main --states=idle --format=%D 2>/dev/null) == 2 ]] && trap - EXIT && return
        sleep 0.5
    done
    exit 1
}

"$1"
