#!/bin/sh
# Installs a JDK with Maven and Gradle: java.sh VERSION SOURCE MAVEN_SOURCE GRADLE_SOURCE. If their servers do not answer,
# Maven comes from Debian, and Gradle is omitted.
# Debian's JDK is used if Debian has the version. Otherwise, the JDK comes from SOURCE, a server with Adoptium's API.
. "${0%/*}/common.sh"
version=$1 source=$2 maven=$3 gradle=$4

apt-get update
if apt-cache show "openjdk-$version-jdk-headless" > /dev/null 2>&1; then
    apt_install "openjdk-$version-jdk-headless" ca-certificates-java
    home=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
    ln -sfn "$home" /opt/java
else
    about=$source/v3/assets/latest/$version/hotspot?architecture=$(echo "$node_machine" | sed 's/arm64/aarch64/')\&image_type=jdk\&os=linux\&vendor=eclipse
    fetch --output "$work/about.json" "$about" || stop "Debian has no Java $version, and $source does not answer"
    [ "$(jq length "$work/about.json")" -gt 0 ] || stop "neither Debian nor $source has Java $version"
    fetch --output "$work/jdk.tar.gz" "$(jq --raw-output '.[0].binary.package.link' "$work/about.json")"
    check sha256 "$work/jdk.tar.gz" "$(jq --raw-output '.[0].binary.package.checksum' "$work/about.json")"
    rm -rf /opt/java
    mkdir /opt/java
    tar --extract --gzip --file="$work/jdk.tar.gz" --directory=/opt/java --no-same-owner --strip-components=1
    # Java has its own list of certificates.
    for certificate in /usr/local/share/ca-certificates/codex-docker/*.crt; do
        [ -e "$certificate" ] || continue
        /opt/java/bin/keytool -importcert -noprompt -cacerts -storepass changeit -alias "codex-docker-$(basename "$certificate" .crt)" \
            -file "$certificate" > "$work/keytool" 2>&1 || stop "a certificate could not be added: $(tail -n 1 "$work/keytool")"
    done
    for tool in java javac jar javadoc jshell keytool; do program "$tool" "/opt/java/bin/$tool"; done
    rm -rf /var/lib/apt/lists/*
fi
export JAVA_HOME=/opt/java

folder=$maven/org/apache/maven/apache-maven
if fetch --output "$work/maven.xml" "$folder/maven-metadata.xml"; then
    exact=$(sed -n 's,.*<version>\(.*\)</version>.*,\1,p' "$work/maven.xml" | newest 3)
    [ -n "$exact" ] || stop "$maven has no Maven 3"
    file=apache-maven-$exact-bin.tar.gz
    fetch --output "$work/$file" "$folder/$exact/$file"
    check sha512 "$work/$file" "$(fetch "$folder/$exact/$file.sha512" | cut -d ' ' -f 1)"
    mkdir -p /opt/maven
    tar --extract --gzip --file="$work/$file" --directory=/opt/maven --no-same-owner --strip-components=1
    program mvn /opt/maven/bin/mvn
else
    echo "$maven does not answer, so Maven comes from Debian"
    apt_install maven
fi

# Most projects have their own Gradle in the repository, so the build continues without it.
if fetch --output "$work/gradle.json" "$gradle/versions/current"; then
    fetch --output "$work/gradle.zip" "$(jq --raw-output .downloadUrl "$work/gradle.json")"
    check sha256 "$work/gradle.zip" "$(fetch "$(jq --raw-output .checksumUrl "$work/gradle.json")")"
    unzip -q "$work/gradle.zip" -d /opt
    program gradle "/opt/gradle-$(jq --raw-output .version "$work/gradle.json")/bin/gradle"
else
    echo "Gradle is not installed, because its server does not answer; projects with gradlew do not need it"
fi
installed java -version
installed mvn --batch-mode --version
