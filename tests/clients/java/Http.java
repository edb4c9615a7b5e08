import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;

/** The JDK's HttpClient with its defaults, which offers HTTP/2 by Upgrade: java Http.java URL USERNAME. */
public class Http {
  static final HttpClient CLIENT = HttpClient.newHttpClient();

  public static void main(String[] args) throws Exception {
    String register = post(args[0] + "/api/register", args[1], "password123");
    String login = post(args[0] + "/api/login", args[1], "password123");
    String token = login.replaceAll(".*\"token\":\"([^\"]+)\".*", "$1");
    URI path = URI.create(args[0] + "/api/profile");
    String profile = send(HttpRequest.newBuilder(path).header("Authorization", "Bearer " + token));
    String wrongPassword = post(args[0] + "/api/login", args[1], "wrongpassword");
    String badRequest = post(args[0] + "/api/register", "ab", "password123");
    new PrintStream(System.out, true, StandardCharsets.UTF_8)
        .printf(
            "{\"register\":%s,\"login\":%s,\"profile\":%s,\"wrongPassword\":%s,\"badRequest\":%s}%n",
            register, login, profile, wrongPassword, badRequest);
  }

  static String post(String url, String username, String password) throws Exception {
    String body = "{\"username\":\"%s\",\"password\":\"%s\"}".formatted(username, password);
    return send(
        HttpRequest.newBuilder(URI.create(url))
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(body)));
  }

  static String send(HttpRequest.Builder request) throws Exception {
    HttpResponse<String> response = CLIENT.send(request.build(), BodyHandlers.ofString());
    return "[%d,%s]".formatted(response.statusCode(), response.body());
  }
}
