import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.ApiResponse;
import org.openapitools.client.api.UsersApi;
import org.openapitools.client.model.Credentials;
import org.openapitools.client.model.LoggedIn;
import org.openapitools.client.model.Problem;

/** A client of openapi-generator, library native: java Generated URL USERNAME. */
public class Generated {
  interface Call {
    Object run() throws ApiException;
  }

  public static void main(String[] args) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(args[0]);
    UsersApi users = new UsersApi(client);
    ObjectMapper mapper = client.getObjectMapper();
    Credentials right = new Credentials().username(args[1]).password("password123");
    Credentials wrong = new Credentials().username(args[1]).password("wrongpassword");
    Credentials tooShort = new Credentials().username("ab").password("password123");

    Map<String, List<Object>> answers = new LinkedHashMap<>();
    answers.put("register", answer(users.registerWithHttpInfo(right, null)));
    ApiResponse<LoggedIn> login = users.loginWithHttpInfo(right, null);
    answers.put("login", answer(login));
    Map<String, String> bearer = Map.of("Authorization", "Bearer " + login.getData().getToken());
    answers.put("profile", answer(users.profileWithHttpInfo(null, bearer)));
    answers.put("wrongPassword", refusal(mapper, () -> users.login(wrong, null)));
    answers.put("badRequest", refusal(mapper, () -> users.register(tooShort, null)));
    new PrintStream(System.out, true, StandardCharsets.UTF_8).println(mapper.writeValueAsString(answers));
  }

  static List<Object> answer(ApiResponse<?> response) {
    return List.of(response.getStatusCode(), response.getData());
  }

  // The generated calls ask for application/json and application/problem+json alike.
  static List<Object> refusal(ObjectMapper mapper, Call call) throws Exception {
    try {
      throw new AssertionError("not refused: " + call.run());
    } catch (ApiException error) {
      return List.of(error.getCode(), mapper.readValue(error.getResponseBody(), Problem.class));
    }
  }
}
