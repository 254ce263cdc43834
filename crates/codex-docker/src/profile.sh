# Restores the PATH that the container started with: the image's, unless the caller set one. Codex runs commands in login shells, and
# /etc/profile replaces PATH in most images. Login shells source this file last, from /etc/profile.d.
#
# Entries that the profile added are kept: those at the front stay there, and the others go to the end.
if [ -r /run/codex-docker-path ]; then
    IFS= read -r codex_docker_path < /run/codex-docker-path
    codex_docker_front=
    codex_docker_back=
    codex_docker_met=
    codex_docker_rest=$PATH:
    while [ -n "$codex_docker_rest" ]; do
        codex_docker_entry=${codex_docker_rest%%:*}
        codex_docker_rest=${codex_docker_rest#*:}
        case ":$codex_docker_path:" in
            *":$codex_docker_entry:"*)
                codex_docker_met=yes
                ;;
            *)
                # The standard folders never go before the image's entries.
                case $codex_docker_entry in
                    /usr/local/sbin | /usr/local/bin | /usr/sbin | /usr/bin | /sbin | /bin) codex_docker_met=yes ;;
                esac
                if [ -n "$codex_docker_met" ]; then
                    codex_docker_back=$codex_docker_back:$codex_docker_entry
                else
                    codex_docker_front=$codex_docker_front$codex_docker_entry:
                fi
                ;;
        esac
    done
    PATH=$codex_docker_front$codex_docker_path$codex_docker_back
    export PATH
    unset codex_docker_path codex_docker_front codex_docker_back codex_docker_met codex_docker_rest codex_docker_entry
fi
