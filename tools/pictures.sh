#!/usr/bin/env bash
# Draws the pictures of docs/ anew: what every class says of one shipped series and `calibrated` of parts of others, and the errors of
# `calibrated` in docs/pictures/errors and what the classes for groups say of a host in docs/pictures/groups. Those are of series of the
# development split: without them they stay as they are.
#
# usage: pictures.sh PROGRAM LABELLED    PROGRAM: vmanomaly; LABELLED: the folder of labelled series
set -euo pipefail

program="$(realpath "$1")"
labelled="$(realpath "$2")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
shipped=examples/labelled
pictures=docs/pictures

draw() { "$program" evaluate "$@" >/dev/null; }

find "$pictures" -mindepth 1 -maxdepth 1 ! -name errors ! -name groups -exec rm -r {} +
draw $shipped --all --series realKnownCause__ec2_request_latency_system_failure --pictures $pictures

of_calibrated() { draw "$1" --class calibrated --series "$2" --around "$3" --pictures "${@:4}"; }
of_calibrated $shipped realAWSCloudwatch__grok_asg_anomaly 2014-01-17T18:00:00Z $pictures --margin 42h --from-start
of_calibrated $shipped realKnownCause__ec2_request_latency_system_failure 2014-03-18T22:41:00Z $pictures --margin 8h
of_calibrated $shipped realAWSCloudwatch__rds_cpu_utilization_e47b3b 2014-04-19T12:00:00Z $pictures --margin 1d

# What docs/detection-quality.md shows of missed events and of false alarms.
errors="
mscloud,mongodb-machine-rps__machine-01            2018-06-20T00:01:00Z
mscloud,application-crash-rate-2__app2-07          2018-06-05T17:00:00Z
mscloud,mongodb-application-rps__mongo-04          2018-05-04T09:43:00Z
mscloud,application-crash-rate-2__app2-04          2018-05-23T05:00:00Z
mscloud,ecommerce-api-incoming-rps__api-01         2018-03-01T22:00:00Z
aiops_kpi,a07ac296                                 2017-06-24T06:20:00Z
aiops_kpi,da10a69f                                 2016-11-14T03:21:00Z
aiops_kpi,301c70d8                                 2016-10-22T02:40:00Z
aiops_kpi,ab216663                                 2016-07-26T09:25:00Z
nab,realKnownCause__ambient_temperature_system_failure 2013-12-22T20:00:00Z 12d
nab,realTweets__Twitter_volume_AMZN                2015-03-21T00:17:53Z
nab,realKnownCause__rogue_agent_key_updown         2014-07-18T06:55:00Z
nab,realAWSCloudwatch__ec2_disk_write_bytes_1ef3de 2014-03-04T17:09:00Z
nab,realTraffic__TravelTime_387                    2015-09-10T23:13:00Z
"
group=asd,omi-1
while read -r series _; do
    if [ -n "$series" ] && ! grep -q ",$series," "$labelled/manifest.csv"; then
        echo "$pictures/errors and $pictures/groups stay as they are: $labelled has no series $series" >&2
        exit 0
    fi
done <<<"$errors
$group"
rm -rf $pictures/errors $pictures/groups
while read -r series time margin; do
    [ -n "$series" ] || continue
    of_calibrated "$labelled" "${series#*,}" "$time" $pictures/errors ${margin:+--margin "$margin"}
done <<<"$errors"
for class in calibrated_multivariate temporal_envelope_multivariate isolation_forest_multivariate; do
    draw "$labelled" --class $class --series "${group#*,}" --pictures $pictures/groups
done
