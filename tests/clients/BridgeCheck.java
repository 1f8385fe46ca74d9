import io.mcpplatform.bridge.BridgeException;
import io.mcpplatform.bridge.McpBridgeClient;
import io.mcpplatform.bridge.ServiceInfo;
import io.mcpplatform.bridge.ToolCall;
import io.mcpplatform.bridge.ToolCallResponse;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/** Uses the client as its users do, and prints what came of it, a line for each. */
public class BridgeCheck {
    public static void main(String[] arguments) {
        McpBridgeClient client = McpBridgeClient.builder()
                .baseUrl(arguments[0])
                .apiKey(arguments[1])
                .timeout(Duration.ofSeconds(30))
                .build();

        ToolCallResponse response = client.callTool("getPersonById", Map.of("id", 1));
        System.out.println(response.success() + "|" + response.result() + "|" + response.serviceInstance());
        System.out.println(!response.executionTime().isNegative() && response.requestId() != null);
        System.out.println(client.callTool("getAllPersons", Map.of()).result());
        System.out.println(client.callTool("echo \"quotes\" \u00fc \uD83D\uDE00", Map.of("a", List.of(1, 2.5, true))).result());

        List<ToolCall> calls = List.of(new ToolCall("getPersonById", Map.of("id", 2)), new ToolCall("fail", Map.of()));
        for (ToolCallResponse each : client.callBatch(calls, false)) {
            System.out.println(each.success() + "|" + each.error().map(BridgeException::code).orElseGet(each::result));
        }

        for (ServiceInfo service : client.getServices()) {
            ServiceInfo.Instance instance = service.instances().get(0);
            System.out.println(service.serviceName() + "|" + service.version() + "|" + service.tools().size() + "|"
                    + service.capabilities().get("prompts") + "|" + instance.instanceId() + "|" + instance.port() + "|"
                    + instance.healthy() + "|" + instance.weight());
        }

        System.out.println(refusal(() -> client.callTool("absent", Map.of())));
        System.out.println(refusal(() -> client.callTool("fail", Map.of())));
        McpBridgeClient brief = McpBridgeClient.builder().baseUrl(arguments[0]).apiKey(arguments[1])
                .timeout(Duration.ofSeconds(3)).build();
        System.out.println(refusal(() -> brief.callTool("wait", Map.of())));
        McpBridgeClient stranger = McpBridgeClient.builder().baseUrl(arguments[0]).apiKey("wrong").build();
        System.out.println(refusal(stranger::getServices));
        McpBridgeClient nobody = McpBridgeClient.builder().baseUrl(arguments[2]).apiKey("wrong").build();
        System.out.println(refusal(nobody::getServices));
    }

    private static String refusal(Supplier<?> call) {
        try {
            return "answered: " + call.get();
        } catch (BridgeException error) {
            return error.code() + "|" + error.status() + "|" + error.details().get("toolName");
        }
    }
}
