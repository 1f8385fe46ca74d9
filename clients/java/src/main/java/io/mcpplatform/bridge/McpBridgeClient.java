package io.mcpplatform.bridge;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** Calls tools through the bridge of an MCP Platform; may be used by several threads at once. */
public final class McpBridgeClient {
    /** How much longer we wait than the bridge does: its own error says more than ours. */
    private static final Duration GRACE = Duration.ofSeconds(5);

    private final String baseUrl;
    private final String apiKey;
    private final Duration timeout;
    private final HttpClient http;

    private McpBridgeClient(Builder builder) {
        baseUrl = Objects.requireNonNull(builder.baseUrl, "baseUrl").replaceAll("/+$", "");
        apiKey = Objects.requireNonNull(builder.apiKey, "apiKey");
        timeout = builder.timeout;
        http = builder.http != null ? builder.http : defaultHttp(timeout);
    }

    private static HttpClient defaultHttp(Duration timeout) {
        // Redirects are not followed: they would take the API key to another server. And HTTP/2 is not asked for:
        // without TLS the JDK asks by an Upgrade header, at which some servers lose the body.
        return HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .followRedirects(HttpClient.Redirect.NEVER)
                .connectTimeout(timeout)
                .build();
    }

    /** Begins to make a client. */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * Calls a tool, of whichever service has it.
     *
     * @throws BridgeException if it cannot be called, or fails
     */
    public ToolCallResponse callTool(String toolName, Map<String, ?> arguments) {
        Map<String, Object> body = wire(new ToolCall(toolName, arguments));
        body.put("timeout", timeout.toMillis());
        Map<String, Object> answer = send("POST", "/mcp/smart/call", body);
        return response(toolName, map(answer.get("data")), requestId(answer));
    }

    /** Calls several tools, at once or in order; one that fails does not fail the others. */
    public List<ToolCallResponse> callBatch(List<ToolCall> calls, boolean parallel) {
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("calls", calls.stream().map(McpBridgeClient::wire).toList());
        body.put("parallel", parallel);
        body.put("timeout", timeout.toMillis());
        Map<String, Object> answer = send("POST", "/mcp/smart/batch", body);
        String requestId = requestId(answer);
        return list(map(answer.get("data")).get("results")).stream()
                .map(each -> outcome(map(each), requestId))
                .toList();
    }

    /** Lists the services that the API key may use. */
    public List<ServiceInfo> getServices() {
        Map<String, Object> answer = send("GET", "/mcp/bridge/services", null);
        return list(answer.get("services")).stream().map(each -> service(map(each))).toList();
    }

    private Map<String, Object> send(String method, String path, Map<String, Object> body) {
        HttpRequest request = HttpRequest.newBuilder(URI.create(baseUrl + path))
                .timeout(timeout.plus(GRACE))
                .header("Authorization", "Bearer " + apiKey)
                .header("Content-Type", "application/json")
                .method(method, body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(Json.write(body)))
                .build();
        HttpResponse<String> response;
        try {
            response = http.send(request, BodyHandlers.ofString());
        } catch (IOException error) {
            throw BridgeException.unreachable("The bridge cannot be reached: " + error.getMessage(), 0, error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw BridgeException.unreachable("The thread was interrupted", 0, error);
        }
        return read(response);
    }

    private static Map<String, Object> read(HttpResponse<String> response) {
        int status = response.statusCode();
        Map<String, Object> answer;
        try {
            answer = map(Json.read(response.body()));
        } catch (IllegalArgumentException | ClassCastException error) {
            throw BridgeException.unreachable("What answered with HTTP " + status + " is no bridge", status, error);
        }
        if (status < 400) {
            return answer;
        }
        if (!(answer.get("error") instanceof Map<?, ?> error)) {
            throw BridgeException.unreachable("What answered with HTTP " + status + " is no bridge", status, null);
        }
        Duration retryAfter = response.headers()
                .firstValue("Retry-After")
                .filter(value -> value.matches("\\d{1,9}"))
                .map(value -> Duration.ofSeconds(Long.parseLong(value)))
                .orElse(null);
        throw refused(map(error), status, requestId(answer), retryAfter);
    }

    private static BridgeException refused(
            Map<String, Object> error, int status, String requestId, Duration retryAfter) {
        Map<String, Object> details = error.get("details") instanceof Map<?, ?> given ? map(given) : Map.of();
        return new BridgeException(
                String.valueOf(error.get("code")),
                status,
                String.valueOf(error.get("message")),
                details,
                requestId,
                retryAfter,
                null);
    }

    private static ToolCallResponse outcome(Map<String, Object> item, String requestId) {
        String toolName = String.valueOf(item.get("toolName"));
        if (Boolean.TRUE.equals(item.get("success"))) {
            return response(toolName, map(item.get("data")), requestId);
        }
        BridgeException failure = refused(map(item.get("error")), 0, requestId, null);
        return new ToolCallResponse(toolName, null, Duration.ZERO, "", requestId, failure);
    }

    private static ToolCallResponse response(String toolName, Map<String, Object> data, String requestId) {
        Duration took = Duration.ofMillis(number(data.get("executionTime")).longValue());
        String instance = String.valueOf(data.get("serviceInstance"));
        return new ToolCallResponse(toolName, data.get("result"), took, instance, requestId, null);
    }

    @SuppressWarnings("unchecked")
    private static ServiceInfo service(Map<String, Object> raw) {
        return new ServiceInfo(
                (String) raw.get("serviceName"),
                (String) raw.get("version"),
                list(raw.get("instances")).stream().map(each -> instance(map(each))).toList(),
                list(raw.get("tools")).stream().map(String::valueOf).toList(),
                (Map<String, Boolean>) raw.get("capabilities"));
    }

    @SuppressWarnings("unchecked")
    private static ServiceInfo.Instance instance(Map<String, Object> raw) {
        return new ServiceInfo.Instance(
                (String) raw.get("instanceId"),
                (String) raw.get("ip"),
                number(raw.get("port")).intValue(),
                Boolean.TRUE.equals(raw.get("healthy")),
                number(raw.get("weight")).doubleValue(),
                (Map<String, String>) raw.get("metadata"));
    }

    private static Map<String, Object> wire(ToolCall call) {
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("toolName", call.toolName());
        body.put("arguments", call.arguments());
        return body;
    }

    private static String requestId(Map<String, Object> answer) {
        return answer.get("metadata") instanceof Map<?, ?> metadata ? (String) metadata.get("requestId") : null;
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> map(Object value) {
        return (Map<String, Object>) value;
    }

    @SuppressWarnings("unchecked")
    private static List<Object> list(Object value) {
        return (List<Object>) value;
    }

    private static Number number(Object value) {
        return value instanceof Number number ? number : 0;
    }

    /** Says where the bridge is, and who calls. */
    public static final class Builder {
        private String baseUrl;
        private String apiKey;
        private Duration timeout = Duration.ofSeconds(30);
        private HttpClient http;

        private Builder() {}

        /** Where the platform's gateway is, such as {@code https://mcp.example.com}. */
        public Builder baseUrl(String value) {
            baseUrl = value;
            return this;
        }

        /** An API key, or an access token. */
        public Builder apiKey(String value) {
            apiKey = value;
            return this;
        }

        /** How long a call may take. */
        public Builder timeout(Duration value) {
            timeout = value;
            return this;
        }

        /** Sends requests, where proxies or certificates of one's own are needed. */
        public Builder httpClient(HttpClient value) {
            http = value;
            return this;
        }

        /** Makes the client. */
        public McpBridgeClient build() {
            return new McpBridgeClient(this);
        }
    }
}
