package io.mcpplatform.bridge;

import java.util.List;
import java.util.Map;

/**
 * A service, which is a deployed MCP.
 *
 * @param serviceName its name
 * @param version which version of it runs
 * @param instances its running copies
 * @param tools the names of the tools that may be called
 * @param capabilities what it offers: tools, resources, prompts
 */
public record ServiceInfo(
        String serviceName,
        String version,
        List<Instance> instances,
        List<String> tools,
        Map<String, Boolean> capabilities) {

    /** One running copy of a service. */
    public record Instance(
            String instanceId, String ip, int port, boolean healthy, double weight, Map<String, String> metadata) {}
}
